package cluster

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/tools/clientcmd"
)

// victimEnv makes the test executable start a control plane and wait for a signal.
const victimEnv = "SECURITYBASELINE_TEST_VICTIM"

func TestMain(m *testing.M) {
	Main()
	if os.Getenv(victimEnv) != "" {
		c, err := Start(context.Background())
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		fmt.Println(c.Kubeconfig())
		select {}
	}
	os.Exit(m.Run())
}

func TestSupervisor_CleansUpAfterParentIsKilled(t *testing.T) {
	for _, signal := range []syscall.Signal{syscall.SIGKILL, syscall.SIGTERM, syscall.SIGINT} {
		t.Run(signal.String(), func(t *testing.T) {
			t.Parallel()
			victim := exec.Command(os.Args[0])
			victim.Env = append(os.Environ(), victimEnv+"=1")
			victim.Stderr = os.Stderr
			out, err := victim.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := victim.Start(); err != nil {
				t.Fatal(err)
			}
			line, err := bufio.NewReader(out).ReadString('\n')
			if err != nil {
				t.Fatal(err)
			}
			kubeconfig := strings.TrimSpace(line)
			config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
			if err != nil {
				t.Fatal(err)
			}
			address, err := url.Parse(config.Host)
			if err != nil {
				t.Fatal(err)
			}
			connection, err := net.Dial("tcp", address.Host)
			if err != nil {
				t.Fatalf("dialing the API server before the signal: got error %v, want none", err)
			}
			_ = connection.Close()

			if err := victim.Process.Signal(signal); err != nil {
				t.Fatal(err)
			}
			_ = victim.Wait()

			err = wait.PollUntilContextTimeout(t.Context(), 50*time.Millisecond, time.Minute, true, func(context.Context) (bool, error) {
				_, err := os.Stat(kubeconfig)
				return os.IsNotExist(err), nil
			})
			if err != nil {
				t.Fatalf("%s: got a file a minute after the signal, want none", kubeconfig)
			}
			if connection, err := net.Dial("tcp", address.Host); err == nil {
				_ = connection.Close()
				t.Error("dialing the API server after the signal: got a connection, want an error")
			}
		})
	}
}

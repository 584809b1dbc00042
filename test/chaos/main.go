// Command chaos injects faults into a running operator and its control plane. It checks
// continuously that the guarantees in docs/reliability.md hold.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"log"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/klog/v2"
	ctrl "sigs.k8s.io/controller-runtime"

	"github.com/securitybaseline/operator/test/cluster"
)

var discardLog = log.New(io.Discard, "", 0)

func main() {
	cluster.Main()
	runAsOperator()
	o := options{settleTimeout: defaultSettleTimeout, out: os.Stdout}
	var only string
	flag.Uint64Var(&o.seed, "seed", uint64(time.Now().UnixNano()), "The random `seed` of the fault mixes.")
	flag.DurationVar(&o.aloneFor, "alone", 12*time.Second, "How long each fault runs alone. 0 skips the rounds with a single fault.")
	flag.DurationVar(&o.mixedFor, "mixed", 10*time.Minute, "How long mixes of faults run.")
	flag.IntVar(&o.namespaces, "n", 40, fmt.Sprintf("The number of governed namespaces, at least %d.", minNamespaces))
	flag.StringVar(&only, "faults", "", "The comma-separated `names` of the faults to inject. The default is all faults.")
	flag.StringVar(&o.dir, "dir", "", "The `directory` for the operators' log. The default is a temporary directory, which is removed if all invariants hold.")
	flag.Parse()
	if only != "" {
		o.faultNames = strings.Split(only, ",")
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	ctrl.SetLogger(logr.Discard())
	klog.SetLogger(logr.Discard())
	if err := runHarness(ctx, o); err != nil {
		fmt.Fprintln(os.Stderr, "chaos:", err)
		os.Exit(1)
	}
}

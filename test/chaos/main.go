// Command chaos does to the operator everything that can go wrong, and checks while it
// does that what docs/reliability.md promises holds.
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
	s := options{settleTimeout: defaultSettleTimeout, out: os.Stdout}
	var only string
	flag.Uint64Var(&s.seed, "seed", uint64(time.Now().UnixNano()), "The `seed` by which faults are mixed.")
	flag.DurationVar(&s.aloneFor, "alone", 12*time.Second, "How long each fault is left to work alone; 0 leaves that out.")
	flag.DurationVar(&s.mixedFor, "mixed", 10*time.Minute, "How long faults are mixed.")
	flag.IntVar(&s.namespaces, "n", 40, fmt.Sprintf("How many namespaces are governed, %d at least.", minNamespaces))
	flag.StringVar(&only, "faults", "", "The `names` of the faults, separated by commas; all, unless stated.")
	flag.StringVar(&s.dir, "dir", "", "The `directory` of the operators' log; a temporary one, which is removed if the invariants held, unless stated.")
	flag.Parse()
	if only != "" {
		s.faultNames = strings.Split(only, ",")
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	ctrl.SetLogger(logr.Discard())
	klog.SetLogger(logr.Discard())
	if err := runHarness(ctx, s); err != nil {
		fmt.Fprintln(os.Stderr, "chaos:", err)
		os.Exit(1)
	}
}

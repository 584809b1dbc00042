package install

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"

	"github.com/securitybaseline/operator/test/cluster"
	"github.com/securitybaseline/operator/test/testutil"
)

// patience is how long a test waits for what must come.
const testutil.Timeout = 2 * time.Minute

func TestMain(m *testing.M) {
	cluster.Main()
	ctrl.SetLogger(zap.New(zap.WriteTo(os.Stderr)))
	os.Exit(m.Run())
}

// eventually waits until what kubectl is asked, which changes nothing, is refused
// with these words or, if there are none, is not refused.
func waitForKubectl(t *testing.T, local *cluster.Cluster, refusal string, args ...string) {
	t.Helper()
	var out string
	err := wait.PollUntilContextTimeout(t.Context(), 100*time.Millisecond, testutil.Timeout, true, func(context.Context) (bool, error) {
		var err error
		out, err = testutil.TryKubectl(t, local, "", args...)
		return (err != nil) == (refusal != "") && strings.Contains(out, refusal), nil
	})
	if err != nil {
		t.Errorf("kubectl %v was to be refused with %q: %s", args, refusal, out)
	}
}


package baseline

import (
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/securitybaseline/operator/api/v1alpha1"
)

func TestExpiryMessage(t *testing.T) {
	expiration := metav1.NewTime(time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC))
	for _, test := range []struct {
		name       string
		controls   []v1alpha1.ControlName
		hasExpired bool
		want       string
	}{
		{
			name: "before", controls: []v1alpha1.ControlName{v1alpha1.ControlImages, v1alpha1.ControlGuard},
			want: "exception migration expires at 2027-01-01T00:00:00Z; Images, Guard will be enforced again in a, b",
		},
		{
			name: "after, one control", controls: []v1alpha1.ControlName{v1alpha1.ControlImages}, hasExpired: true,
			want: "exception migration expired at 2027-01-01T00:00:00Z; Images is enforced again in a, b",
		},
		{
			name: "after, two controls", controls: []v1alpha1.ControlName{v1alpha1.ControlImages, v1alpha1.ControlGuard}, hasExpired: true,
			want: "exception migration expired at 2027-01-01T00:00:00Z; Images, Guard are enforced again in a, b",
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			exception := &v1alpha1.Exception{Name: "migration", Namespaces: []string{"a", "b"}, Controls: test.controls, ExpirationTime: &expiration}
			if got := expiryMessage(exception, test.hasExpired); got != test.want {
				t.Errorf("got  %q\nwant %q", got, test.want)
			}
		})
	}
}

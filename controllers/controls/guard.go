package controls

import (
	"github.com/securitybaseline/operator/api/v1alpha1"
)

var guard = atAdmission(v1alpha1.ControlGuard, "guard", func(spec *v1alpha1.SecurityBaselineSpec) bool { return spec.Guard != nil })

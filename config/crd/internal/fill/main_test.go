package main

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/securitybaseline/operator/controllers/controls"
)

func TestFill(t *testing.T) {
	table := []controls.Control{{Name: "PodSecurity", Section: "podSecurity"}, {Name: "RBAC", Section: "rbac"}}
	for _, test := range []struct {
		name, text, want string
	}{
		{name: "enum of a CRD", text: "enum:\n  - CONTROLS\ntype: string", want: "enum:\n  - PodSecurity\n  - RBAC\ntype: string"},
		{name: "enum in the reference", text: "Enum: [CONTROLS] <br />", want: "Enum: [PodSecurity RBAC] <br />"},
		{name: "rule", text: "rule: CONTROLS", want: "rule: has(self.podSecurity) || has(self.rbac)"},
		{name: "message", text: "add at least one of CONTROLS", want: "add at least one of podSecurity, rbac"},
		{name: "other text", text: "controls: []", want: "controls: []"},
	} {
		t.Run(test.name, func(t *testing.T) {
			if diff := cmp.Diff(test.want, fill(test.text, table)); diff != "" {
				t.Errorf("text (-want +got):\n%s", diff)
			}
		})
	}
}

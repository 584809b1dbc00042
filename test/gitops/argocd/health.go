package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/argoproj/argo-cd/gitops-engine/pkg/health"
	lua "github.com/yuin/gopher-lua"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// scriptTimeout is the time limit of a script in Argo CD.
const scriptTimeout = time.Second

// healthScripts are Lua scripts by GROUP_KIND, as in argocd-cm under
// resource.customizations.health.GROUP_KIND.
type healthScripts map[string]string

// GetResourceHealth implements health.HealthOverride. It returns the health from the
// script for the object's kind, or nil without a script.
func (s healthScripts) GetResourceHealth(object *unstructured.Unstructured) (*health.HealthStatus, error) {
	script, found := s[strings.TrimPrefix(strings.Replace(groupKind(object), "/", "_", 1), "_")]
	if !found {
		return nil, nil
	}
	result, err := runHealthScript(script, object)
	if err != nil {
		return nil, fmt.Errorf("running the health script: %w", err)
	}
	if result == lua.LNil {
		return &health.HealthStatus{}, nil
	}
	table, isTable := result.(*lua.LTable)
	if !isTable {
		return nil, errors.New("the health script did not return a table")
	}
	status := &health.HealthStatus{
		Status:  health.HealthStatusCode(lua.LVAsString(table.RawGetString("status"))),
		Message: lua.LVAsString(table.RawGetString("message")),
	}
	switch status.Status {
	case health.HealthStatusUnknown, health.HealthStatusProgressing, health.HealthStatusSuspended,
		health.HealthStatusHealthy, health.HealthStatusDegraded, health.HealthStatusMissing:
		return status, nil
	}
	return &health.HealthStatus{Status: health.HealthStatusUnknown, Message: "Lua returned an invalid health status"}, nil
}

// runHealthScript runs a script with the libraries that Argo CD makes available to
// scripts in argocd-cm, without its safe part of os. There is no string library.
func runHealthScript(script string, object *unstructured.Unstructured) (lua.LValue, error) {
	state := lua.NewState(lua.Options{SkipOpenLibs: true})
	defer state.Close()
	for name, open := range map[string]lua.LGFunction{lua.BaseLibName: lua.OpenBase, lua.TabLibName: lua.OpenTable} {
		state.Push(state.NewFunction(open))
		state.Push(lua.LString(name))
		state.Call(1, 0)
	}
	ctx, cancel := context.WithTimeout(context.Background(), scriptTimeout)
	defer cancel()
	state.SetContext(ctx)
	state.SetGlobal("obj", toLua(state, object.Object))
	if err := state.DoString(script); err != nil {
		return nil, err
	}
	return state.Get(-1), nil
}

func toLua(state *lua.LState, value any) lua.LValue {
	switch value := value.(type) {
	case bool:
		return lua.LBool(value)
	case string:
		return lua.LString(value)
	case int64:
		return lua.LNumber(value)
	case float64:
		return lua.LNumber(value)
	case []any:
		table := state.NewTable()
		for _, element := range value {
			table.Append(toLua(state, element))
		}
		return table
	case map[string]any:
		table := state.NewTable()
		for key, field := range value {
			table.RawSetString(key, toLua(state, field))
		}
		return table
	}
	return lua.LNil
}

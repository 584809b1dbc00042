package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
)

// profileSeconds is the length of the CPU profile of each phase.
const profileSeconds = 5

// withProfiles runs a phase. If profiles are enabled, it writes a CPU profile of the
// start of the phase and a heap profile after it. There is no CPU profile of a phase
// that restarts the operator.
func (b *bench) withProfiles(ctx context.Context, name string, phase func(ctx context.Context) error) error {
	if b.options.profiles == "" {
		return phase(ctx)
	}
	file := filepath.Join(b.options.profiles, strings.ReplaceAll(name, " ", "-"))
	cpu := make(chan error, 1)
	go func() {
		cpu <- b.fetchProfile(ctx, fmt.Sprintf("profile?seconds=%d", profileSeconds), file+".cpu.pprof")
	}()
	if err := phase(ctx); err != nil {
		return err
	}
	if err := <-cpu; err != nil {
		fmt.Printf("%s: no CPU profile: %v\n", name, err)
	}
	return b.fetchProfile(ctx, "heap?gc=1", file+".heap.pprof")
}

func (b *bench) fetchProfile(ctx context.Context, profile, file string) (err error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+b.pprofAddress+"/debug/pprof/"+profile, nil)
	if err != nil {
		return err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return fmt.Errorf("requesting a profile: %w", err)
	}
	defer func() { _ = response.Body.Close() }()
	out, err := os.Create(file)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	_, err = io.Copy(out, response.Body)
	return err
}

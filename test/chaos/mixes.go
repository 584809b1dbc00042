package main

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
)

// mixed returns some of the faults, and at most one of those with storage.
func pickMix(random *rand.Rand, chosen []fault) []fault {
	size := min(len(chosen), 2+random.IntN(maxFaultsInMix-1))
	var mix []fault
	for _, i := range random.Perm(len(chosen)) {
		another := slices.ContainsFunc(mix, func(f fault) bool { return f.needsStorage })
		if len(mix) < size && (!chosen[i].needsStorage || !another) {
			mix = append(mix, chosen[i])
		}
	}
	return mix
}

// choose returns the faults of these names; all, if there are none.
func faultsNamed(chosen []string) ([]fault, error) {
	if len(chosen) == 0 {
		return faults, nil
	}
	all := make([]fault, 0, len(chosen))
	for _, name := range chosen {
		i := slices.IndexFunc(faults, func(f fault) bool { return f.name == name })
		if i < 0 {
			return nil, fmt.Errorf("there is no fault %s; there are: %s", name, joinNames(faults))
		}
		all = append(all, faults[i])
	}
	return all, nil
}

// names are those of faults, separated by commas.
func joinNames(faults []fault) string {
	all := make([]string, 0, len(faults))
	for _, f := range faults {
		all = append(all, f.name)
	}
	return strings.Join(all, ", ")
}

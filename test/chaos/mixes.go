package main

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
)

// pickMix returns two to maxFaultsInMix random faults. At most one of them needs
// storage.
func pickMix(random *rand.Rand, selected []fault) []fault {
	size := min(len(selected), 2+random.IntN(maxFaultsInMix-1))
	var mix []fault
	for _, i := range random.Perm(len(selected)) {
		hasStorage := slices.ContainsFunc(mix, func(f fault) bool { return f.needsStorage })
		if len(mix) < size && (!selected[i].needsStorage || !hasStorage) {
			mix = append(mix, selected[i])
		}
	}
	return mix
}

// faultsNamed returns the faults with these names, or all faults if there are no names.
func faultsNamed(selected []string) ([]fault, error) {
	if len(selected) == 0 {
		return faults, nil
	}
	all := make([]fault, 0, len(selected))
	for _, name := range selected {
		i := slices.IndexFunc(faults, func(f fault) bool { return f.name == name })
		if i < 0 {
			return nil, fmt.Errorf("unknown fault %q; the faults are: %s", name, joinNames(faults))
		}
		all = append(all, faults[i])
	}
	return all, nil
}

// joinNames returns the names of the faults, separated by commas.
func joinNames(faults []fault) string {
	all := make([]string, 0, len(faults))
	for _, f := range faults {
		all = append(all, f.name)
	}
	return strings.Join(all, ", ")
}

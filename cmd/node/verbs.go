package main

import (
	"fmt"
	"os"
	"syscall"

	"healkv/rdma"
)

// verbsSuffix names the program beside this one that has the provider verbs, where
// the build found libibverbs. A program that needs C begins with the dynamic linker,
// four libraries and C's threads, a third of what its start takes (decision 0031):
// who asks for verbs gets it, and nobody else waits for it.
const verbsSuffix = "-verbs"

// builtIn refuses a provider that neither this program nor the one beside it has,
// before anything is made. It does not return where that one takes over: same
// arguments, same process.
func builtIn(provider string) error {
	err := rdma.CheckProvider(provider)
	if err == nil {
		return nil
	}
	if provider == "verbs" {
		err = takeOver(err)
	}
	return badConfig(fmt.Errorf("provider = %q: %w", provider, err))
}

// takeOver runs the program that has verbs in this one's place. It returns why not.
func takeOver(missing error) error {
	self, err := os.Executable()
	if err != nil {
		return missing
	}
	program := self + verbsSuffix
	if _, err := os.Stat(program); err != nil {
		return missing
	}
	err = syscall.Exec(program, os.Args, os.Environ())
	return fmt.Errorf("%w; and %s, which should have it, does not run: %w", missing, program, err)
}

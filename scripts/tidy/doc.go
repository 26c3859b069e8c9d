// Package tidy holds the rules of this repository as ordinary tests:
// formatting, vet, staticcheck, who may import whom, where unsafe and "C" may
// appear, what pure packages must not do, and words that must not occur. It
// has no code of its own; `go test ./scripts/tidy` runs it, `make test` too.
//
// The rules come from the house plan (docs/README.md). A rule that turns out
// to be wrong is changed here, with its reason beside it.
package tidy

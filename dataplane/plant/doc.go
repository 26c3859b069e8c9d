// Package plant names the bugs that tests put into the product on purpose: one
// cure left out each. In a build with the tag plant the environment variable
// HEALKV_PLANT chooses which one is left out; in every other build Is is the
// constant false, and the compiler removes the question.
//
//	HEALKV_PLANT=H1-flush-before-promotion go test -count=1 -tags plant ./heal/rejoin
//
// A bug may name a node ("stale-read@4"), and several may be chosen at once,
// separated by commas, where two cures stand for the same hazard.
//
// The table in bench/plants says of each bug which check must find it, and its
// test runs them all. Every bug has its place in exactly one file.
//
// Sources: protocol.md, "Hazards"; storage.md; transport.md.
package plant

// Bug names a planted bug. The values of type Bug in this package are all
// there are.
type Bug string

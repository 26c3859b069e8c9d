// Package plants runs the planted bugs: its test walks the table of all bugs
// of package plant, puts each into a test build, and requires that the check
// named for it fails. A bug that nothing notices is a failure, and so is a
// check that fails without any bug.
//
//	go test ./bench/plants                            # the table agrees with the code
//	go test ./bench/plants -plants                    # every bug, by the check named for it
//	go test ./bench/plants -plants -bug H3            # those whose name begins so
//	go test ./bench/plants -plants -update            # and docs/planted.md is written anew
package plants

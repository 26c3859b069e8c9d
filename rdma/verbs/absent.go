//go:build !verbs

package verbs

import "healkv/rdma"

func init() {
	rdma.Absent(Name, "not built in; install libibverbs-dev and pkg-config (as root: apt-get install libibverbs-dev pkg-config), then make build")
}

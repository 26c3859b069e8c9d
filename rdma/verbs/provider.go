//go:build verbs

package verbs

import "healkv/rdma"

func init() { rdma.Register(Name, open) }

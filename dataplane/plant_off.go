//go:build !plant

package dataplane

import "healkv/dataplane/proto"

// planted is false in every build but the one in which tests plant bugs to see
// that the demo's verification notices them (plant_on.go).
const planted = false

func plantLostWrite(*Worker, *Op) bool                                      { return false }
func plantStaleRead(_, value []byte, _ int, ts proto.TS) ([]byte, proto.TS) { return value, ts }
func plantReplica(*Worker)                                                  {}

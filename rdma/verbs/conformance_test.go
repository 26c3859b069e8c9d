//go:build verbs

package verbs

import (
	"testing"
	"time"

	"healkv/rdma"
	"healkv/rdma/conformance"
)

func TestConformance(t *testing.T) {
	needDevice(t)
	conformance.Run(t, func(t *testing.T) conformance.Fabric { return fabric(t) })
}

func fabric(t *testing.T) conformance.Fabric {
	var exposed [][]byte
	t.Cleanup(func() { // after the endpoints', which are made later
		for _, mem := range exposed {
			if err := unmapMemory(mem); err != nil {
				t.Error(err)
			}
		}
	})
	c := newCluster(t)
	return conformance.Fabric{
		New:    func(node int, incarnation uint32) rdma.Endpoint { return c.end(node, incarnation) },
		Settle: c.settle,
		Expose: func(x rdma.Endpoint, mem []byte) {
			mapped := c.memory(len(mem))
			exposed = append(exposed, mapped)
			copy(mapped, mem)
			if err := x.(*Endpoint).Expose(rdma.Exposed{Mem: mapped, Size: int64(len(mapped))}); err != nil {
				t.Fatal(err)
			}
		},
		Sleep: func(x rdma.Endpoint, before, during func()) {
			t.Helper()
			x.PrepareSleep()
			c.sleep = x.(*Endpoint)
			before()
			done := make(chan struct{})
			go func() {
				x.Sleep(-1)
				close(done)
			}()
			during()
			select {
			case <-done:
			case <-time.After(20 * time.Second):
				t.Fatal("lost wake-up: still asleep after 20 s")
			}
			c.sleep = nil
		},
		AllocFree: !raceEnabled,
	}
}

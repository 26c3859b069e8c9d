package explore

import (
	"testing"
	"time"

	"healkv/dataplane/proto"
)

func TestFirst(t *testing.T) {
	for _, m := range proto.Models() {
		for _, c := range []Config{
			{Name: "w1n2", Model: m, Nodes: 2, Keys: 1, Puts: 1},
			{Name: "w2n2", Model: m, Nodes: 2, Keys: 1, Puts: 2},
			{Name: "w1n3", Model: m, Nodes: 3, Keys: 1, Puts: 1},
			{Name: "w2n3", Model: m, Nodes: 3, Keys: 1, Puts: 2},
		} {
			e, err := New(&c)
			if err != nil {
				t.Fatal(err)
			}
			r := e.Run(Limit{Time: 20 * time.Second})
			t.Log(r)
			if r.Violation != nil {
				t.Fail()
			}
		}
	}
}

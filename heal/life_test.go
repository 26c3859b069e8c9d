package heal

import (
	"testing"
)

func TestWayBackByRange(t *testing.T) {
	r := newRig(t, 3, 1)
	r.boot()
	r.write(r.nodes[0], 200, 50, 100)
	x := r.nodes[2]
	x.kill()
	r.remove(x)
	r.write(r.nodes[0], 200, 50, 100)
	x.start()
	r.until("node 2 is back", func() bool { return r.serving() == 3 })
	if n := r.same(50); n != 50 {
		t.Errorf("%d keys", n)
	}
	for _, l := range r.log {
		t.Log(l)
	}
}

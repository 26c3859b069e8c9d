package healkv

import (
	"runtime"
	"strings"
	"testing"

	"healkv/dataplane/proto"
)

// A pool with data is not discarded for a cluster that never had its node.
func TestStrangePool(t *testing.T) {
	empty := proto.View{Configured: 0b111, Shards: 1}
	began := empty.Next(0b011, 0) // without node 2
	began.Incarnation[0], began.Incarnation[1] = 1, 1
	joined := began.Admitted(proto.Member{Node: 2, Incarnation: 1}, true)
	for i, c := range []struct {
		epoch uint32
		v     proto.View
		want  string
	}{
		{0, empty, ""}, {0, began, ""}, {0, joined, ""}, {2, joined, ""}, {1, joined, ""},
		{3, joined, "know view 3, but a majority of the view registers (this node's is in STATE) knows none after 2"},
		{3, empty, "register in STATE and at the other nodes is empty"},
		{3, began, "has never had node 2 as a member"},
	} {
		err := strange(c.epoch, &c.v, 2, "STATE")
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%d: pool of view %d, register at %d: %v, want %q", i, c.epoch, c.v.Epoch, err, c.want)
		}
	}
}

// One task of a kind runs at a time, however often it is asked for.
func TestOneTask(t *testing.T) {
	var o one
	goOn := make(chan struct{})
	for i := range 50 {
		if began := o.begin(func() { <-goOn }); began != (i == 0) {
			t.Errorf("task %d begun: %v", i, began)
		}
	}
	close(goOn)
	for o.runs.Load() {
		runtime.Gosched()
	}
	over := make(chan struct{})
	if !o.begin(func() { close(over) }) {
		t.Fatal("none begins after the first has ended")
	}
	<-over
}

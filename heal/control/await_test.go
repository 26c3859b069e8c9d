package control

import (
	"context"
	"testing"
	"time"

	"healkv/dataplane/proto"
)

// TestAwait: who waits for one connection has it when Await returns, and who
// waits for more than there are comes back when its patience or ctx ends.
func TestAwait(t *testing.T) {
	dir := runDir(t)
	server := func(n int) *Server {
		s, err := New(Config{RunDir: dir, ClusterID: testCluster, Node: proto.NodeID(n), Configured: 0b111})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { s.Close() })
		return s
	}
	a, b := server(0), server(1)
	if err := a.Start(); err != nil {
		t.Fatal(err)
	}
	reached := make(chan bool)
	go func() {
		a.Await(context.Background(), 1, time.Minute)
		reached <- a.Connected(1)
	}()
	if err := b.Start(); err != nil {
		t.Fatal(err)
	}
	if !<-reached {
		t.Error("came back without the connection")
	}
	a.Await(context.Background(), 2, time.Microsecond)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	a.Await(ctx, 2, time.Hour)
	go b.Close()
	b.Await(context.Background(), 2, time.Hour)
}

// TestDialBeforeStart: a server that dials before it listens has reached the
// others by then, and tells of the lives that it met when it starts.
func TestDialBeforeStart(t *testing.T) {
	dir := runDir(t)
	server := func(n int) *Server {
		s, err := New(Config{RunDir: dir, ClusterID: testCluster, Node: proto.NodeID(n), Configured: 0b11})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { s.Close() })
		return s
	}
	there, comes := server(0), server(1)
	if err := there.Start(); err != nil {
		t.Fatal(err)
	}
	there.SetMember(proto.Member{Node: 0, Incarnation: 4})
	comes.Dial()
	comes.Await(t.Context(), 1, time.Minute)
	if !comes.Connected(0) {
		t.Fatal("not connected before it listens")
	}
	met := make(chan Event, 1)
	comes.OnEvent(func(e Event) {
		if e.Kind == PeerHello {
			met <- e
		}
	})
	if err := comes.Start(); err != nil {
		t.Fatal(err)
	}
	select {
	case e := <-met:
		if e.Member != (proto.Member{Node: 0, Incarnation: 4}) {
			t.Errorf("met %v", e.Member)
		}
	default:
		t.Error("whom it had met was not told at the start")
	}
	until(t, "connected back", func() bool { return there.Connected(1) })
}

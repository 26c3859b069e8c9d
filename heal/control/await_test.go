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

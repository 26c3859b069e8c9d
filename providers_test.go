package healkv_test

import (
	"bytes"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"healkv/dataplane/proto"
	"healkv/rdma"
)

// told is a log in which somebody waits for a text.
type told struct {
	mu   sync.Mutex
	text bytes.Buffer
	more chan struct{}
}

func (l *told) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	select {
	case l.more <- struct{}{}:
	default:
	}
	return l.text.Write(p)
}

func (l *told) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// Two nodes of a group with different providers do not get together, and each
// of them says in its log which provider is where and what to do. The one here
// that is not tcp is tcp by another name: what a peer without verbs is told is
// the same, and is seen in the lab machine (scripts/lab/smoke.sh).
func TestNodesWithDifferentProviders(t *testing.T) {
	const other = "tcp-by-another-name"
	rdma.Register(other, func(c rdma.Config) (rdma.Endpoint, error) { return rdma.Open("tcp", c) })
	g := newGroupOver(t, "tcp", 2, 1, proto.Synchronous, 64<<20)
	providers := []string{"tcp", other}
	logs := []*told{{more: make(chan struct{}, 1)}, {more: make(chan struct{}, 1)}}
	for i := range g.cfgs {
		g.cfgs[i].Provider, g.cfgs[i].Logger = providers[i], slog.New(slog.NewTextHandler(logs[i], nil))
		g.open(i)
	}
	late := time.After(30 * time.Second)
	for i, l := range logs {
		want := fmt.Sprintf(`this node has \"%s\", node %d has \"%s\": set provider to the same at all nodes`, providers[i], 1-i, providers[1-i])
		for !strings.Contains(l.String(), want) {
			select {
			case <-l.more:
			case <-late:
				t.Fatalf("node %d does not say %s:\n%s", i, want, l)
			}
		}
		if n := strings.Count(l.String(), "level=ERROR"); n != 1 {
			t.Errorf("node %d complains %d times:\n%s", i, n, l)
		}
	}
	for i := range g.nodes {
		if s := g.nodes[i].Status(); g.nodes[i].Ready() || s.Serving {
			t.Errorf("node %d serves: %+v", i, s)
		}
	}
}

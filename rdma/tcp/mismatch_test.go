package tcp

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"strings"
	"testing"

	"healkv/rdma/conformance"
)

// logged is an endpoint whose log is read.
func (n *network) logged(node int, c *tls.Config, to *bytes.Buffer) *Endpoint {
	n.t.Helper()
	e, err := New(Config{Node: node, Nodes: conformance.Nodes, Incarnation: 1, RingBytes: n.ring, Exchange: n.hub.Exchange(node, 0), TLS: c,
		Logger: slog.New(slog.NewTextHandler(to, nil))})
	if err != nil {
		n.t.Fatal(err)
	}
	n.t.Cleanup(func() { e.Close() })
	return e
}

// One node encrypts, the other does not: both say so, and what to do, whoever
// asks; and the log is not filled with it.
func TestOneEndEncrypts(t *testing.T) {
	n := newNetwork(t, nil)
	var logs [2]bytes.Buffer
	ends := []*Endpoint{n.logged(0, mutual(), &logs[0]), n.logged(1, nil, &logs[1])}
	mem := text(4096)
	for _, e := range ends {
		expose(t, e, mem)
	}
	const tries = 5
	for i, e := range ends {
		own, peers := "off", "on"
		if i == 0 {
			own, peers = peers, own
		}
		for range tries {
			if _, err := e.Prepare(1-i, 1); !errors.Is(err, ErrTLS) || !strings.Contains(err.Error(), "data.tls comes to "+own+" here and to "+peers+" at node") ||
				!strings.Contains(err.Error(), "at all nodes") {
				t.Errorf("node %d: %v", i, err)
			}
		}
		if _, err := e.Remote(1-i, 1); !errors.Is(err, ErrTLS) {
			t.Errorf("node %d reads: %v", i, err)
		}
	}
	for i := range logs {
		text := logs[i].String()
		if strings.Count(text, "data.tls") != 1 || !strings.Contains(text, "at all nodes") || !strings.Contains(text, "level=ERROR") {
			t.Errorf("the log of node %d, after %d attempts of its peer: %q", i, tries+1, text)
		}
	}
}

// A peer with another provider, or of another release, is told so, and so is
// whoever reads our log.
func TestPeerOfAnotherKind(t *testing.T) {
	n := newNetwork(t, nil)
	var log bytes.Buffer
	n.logged(1, nil, &log)
	asked := 0
	for _, q := range []string{`{"verbs":2,"op":"open","from":1,"to":1}`, "", "hello", strings.Repeat("\x01", questionBytes)} {
		_, err := n.hub.Exchange(0, 0).Call(context.Background(), 1, []byte(q))
		if err == nil || !strings.Contains(err.Error(), "same provider") || !strings.Contains(err.Error(), "same release") {
			t.Errorf("%q: %v", q, err)
		}
		asked++
	}
	if strings.Count(log.String(), "same provider") != 1 {
		t.Errorf("the log after %d questions: %q", asked, log.String())
	}
	// And the other way round: what a peer answers.
	n.hub.Exchange(2, 0).Serve(func(context.Context, int, []byte) ([]byte, error) { return []byte(`{"verbs":2}`), nil })
	if _, err := n.end(0, 1).Prepare(2, 1); !errors.Is(err, errParameters) || !strings.Contains(err.Error(), "same provider") {
		t.Error(err)
	}
}

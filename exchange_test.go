package healkv

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"healkv/dataplane/proto"
	"healkv/rdma"
)

// board is a control plane within the test: the handler of each node.
type board struct {
	self     proto.NodeID
	handlers map[proto.NodeID]func(context.Context, proto.Member, json.RawMessage) (any, error)
}

func (b *board) at(n proto.NodeID) *board { return &board{n, b.handlers} }

func (b *board) Handle(kind string, h func(context.Context, proto.Member, json.RawMessage) (any, error)) {
	b.handlers[b.self] = h
}

func (b *board) Call(ctx context.Context, n proto.NodeID, kind string, req, resp any) error {
	body, err := json.Marshal(req)
	if err != nil {
		return err
	}
	a, err := b.handlers[n](ctx, proto.Member{Node: b.self}, body)
	if err != nil {
		return errors.New(err.Error()) // as text, which is what travels
	}
	text, err := json.Marshal(a)
	if err != nil {
		return err
	}
	return json.Unmarshal(text, resp)
}

func exchangePair() (a, b *exchanges) {
	all := &board{handlers: map[proto.NodeID]func(context.Context, proto.Member, json.RawMessage) (any, error){}}
	quiet := slog.New(slog.DiscardHandler)
	return newExchanges(all.at(0), "tcp", quiet), newExchanges(all.at(1), "tcp", quiet)
}

// Two nodes with different providers: both logs say once which provider is
// where and what to do, whichever asks, and so does the error of who asks.
func TestExchangeNamesDifferentProviders(t *testing.T) {
	all := &board{handlers: map[proto.NodeID]func(context.Context, proto.Member, json.RawMessage) (any, error){}}
	var logs [2]bytes.Buffer
	providers := [2]string{"verbs", "tcp"}
	var nodes [2]*exchanges
	var ends [2]rdma.Exchange
	for i := range nodes {
		nodes[i] = newExchanges(all.at(proto.NodeID(i)), providers[i], slog.New(slog.NewTextHandler(&logs[i], nil)))
		ends[i] = nodes[i].of(member(proto.NodeID(i), 1), 0)
		ends[i].Serve(func(context.Context, int, []byte) ([]byte, error) {
			t.Error("the other provider's request has reached the endpoint")
			return nil, nil
		})
	}
	for range 3 {
		for i, e := range ends {
			_, err := e.Call(t.Context(), 1-i, []byte("x"))
			for _, says := range []string{`this node has "` + providers[i], fmt.Sprintf(`node %d has "%s`, 1-i, providers[1-i]), "the same at all nodes", "node doctor"} {
				if !errors.Is(err, ErrProviders) || !strings.Contains(err.Error(), says) {
					t.Errorf("node %d: %v; want %q in it", i, err, says)
				}
			}
		}
	}
	for i := range logs {
		text := logs[i].String()
		if strings.Count(text, "level=ERROR") != 1 || strings.Count(text, "the same at all nodes") != 1 || !strings.Contains(text, fmt.Sprintf(`this node has \"%s\"`, providers[i])) {
			t.Errorf("the log of node %d: %s", i, text)
		}
	}
}

func member(n proto.NodeID, i proto.Incarnation) proto.Member {
	return proto.Member{Node: n, Incarnation: i}
}

func TestExchangeAnswersPerShardAndLife(t *testing.T) {
	a, b := exchangePair()
	ctx := t.Context()
	asking := a.of(member(0, 1), 2)
	if _, err := asking.Call(ctx, 1, []byte("x")); !errors.Is(err, rdma.ErrNoPeer) {
		t.Fatalf("nobody serves: %v", err)
	}
	serve := func(life proto.Incarnation, shard int, text string) rdma.Exchange {
		e := b.of(member(1, life), shard)
		e.Serve(func(_ context.Context, from int, q []byte) ([]byte, error) {
			if from != 0 {
				t.Errorf("asked by node %d", from)
			}
			switch string(q) {
			case "nobody":
				return nil, rdma.ErrNoPeer
			case "no":
				return nil, errors.New("no flour")
			case "long":
				return make([]byte, rdma.ExchangeMax+1), nil
			}
			return append([]byte(text), q...), nil
		})
		return e
	}
	first := serve(5, 2, "first ")
	serve(5, 3, "other shard ")
	for _, c := range []struct {
		peer int
		q    []byte
		want string
		is   error
		text string
	}{
		{1, []byte("x"), "first x", nil, ""},
		{1, bytes.Repeat([]byte{0xff}, rdma.ExchangeMax), "first " + string(bytes.Repeat([]byte{0xff}, rdma.ExchangeMax)), nil, "at most"},
		{1, make([]byte, rdma.ExchangeMax+1), "", nil, "at most"},
		{1, []byte("long"), "", nil, "at most"},
		{1, []byte("nobody"), "", rdma.ErrNoPeer, ""},
		{1, []byte("no"), "", nil, "no flour"},
		{0, []byte("x"), "", rdma.ErrNoPeer, ""},
		{-1, []byte("x"), "", rdma.ErrNoPeer, ""},
		{16, []byte("x"), "", rdma.ErrNoPeer, ""},
	} {
		got, err := asking.Call(ctx, c.peer, c.q)
		ok := c.is == nil && c.text == "" && err == nil && string(got) == c.want ||
			c.is != nil && errors.Is(err, c.is) || c.text != "" && err != nil && strings.Contains(err.Error(), c.text)
		if !ok {
			t.Errorf("node %d, %.10q (%d bytes): %.20q, %v", c.peer, c.q, len(c.q), got, err)
		}
	}
	serve(6, 2, "second ")
	first.Serve(nil) // the old life's end takes nothing from the new one
	if got, err := asking.Call(ctx, 1, []byte("x")); err != nil || string(got) != "second x" {
		t.Errorf("after a new life: %q, %v", got, err)
	}
	if got, err := a.of(member(0, 2), 2).Call(ctx, 1, []byte("y")); err != nil || string(got) != "second y" {
		t.Errorf("asked by a new life: %q, %v", got, err)
	}
	if _, err := asking.Call(ctx, 1, []byte("x")); err == nil || !strings.Contains(err.Error(), "lives as 2") {
		t.Errorf("asked by a life that is over: %v", err)
	}
}

func TestExchangeRefusesWhatDoesNotFit(t *testing.T) {
	_, b := exchangePair()
	b.of(member(1, 1), 0).Serve(func(context.Context, int, []byte) ([]byte, error) { return nil, nil })
	tried := 0
	for body, want := range map[string]string{
		`[`: "malformed",
		`{"shard":0,"from":{"Node":3,"Incarnation":1}}`:  "in the name of",
		`{"shard":0,"from":{"Node":0,"Incarnation":0}}`:  "in the name of",
		`{"shard":64,"from":{"Node":0,"Incarnation":1}}`: "shard 64",
		`{"shard":-1,"from":{"Node":0,"Incarnation":1}}`: "shard -1",
	} {
		if _, err := b.answer(t.Context(), member(0, 1), json.RawMessage(body)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", body, err, want)
		}
		tried++
	}
	t.Logf("%d requests refused", tried)
}

// The end of an endpoint waits for its last answer: it may hold memory.
func TestServeNobodyWaitsForTheLastAnswer(t *testing.T) {
	a, b := exchangePair()
	e := b.of(member(1, 1), 0)
	entered, leave := make(chan struct{}), make(chan struct{})
	var left bool
	e.Serve(func(context.Context, int, []byte) ([]byte, error) {
		close(entered)
		<-leave
		left = true
		return nil, nil
	})
	done := make(chan error)
	go func() {
		_, err := a.of(member(0, 1), 0).Call(context.Background(), 1, nil)
		done <- err
	}()
	<-entered
	time.AfterFunc(5*time.Millisecond, func() { close(leave) })
	e.Serve(nil)
	if !left {
		t.Error("Serve(nil) returned before the answer had ended")
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
	if _, err := a.of(member(0, 1), 0).Call(t.Context(), 1, nil); !errors.Is(err, rdma.ErrNoPeer) {
		t.Errorf("nobody serves: %v", err)
	}
}

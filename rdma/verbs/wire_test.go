package verbs

import (
	"errors"
	"reflect"
	"strings"
	"testing"

	"healkv/rdma"
)

func TestWireComesBack(t *testing.T) {
	q := request{Verbs: wireVersion, Op: opOpen, From: 1, To: 2, Ring: 1 << 20, Tag: 7,
		Side: side{QPN: 3, PSN: 4, GID: make([]byte, 16), MTU: 1024, RingAddr: 1 << 63, RingKey: 5, LineAddr: 6, LineKey: 7}}
	got, err := decodeRequest(encodeWire(&q))
	if err != nil || !reflect.DeepEqual(got, q) {
		t.Errorf("%+v, %v", got, err)
	}
	a := answer{Verbs: wireVersion, Side: q.Side, Known: true, Pos: 1 << 60, Size: 9, Staged: "why"}
	back, err := decodeAnswer(1, encodeWire(&a))
	if err != nil || !reflect.DeepEqual(back, a) {
		t.Errorf("%+v, %v", back, err)
	}
	if n := len(encodeWire(&q)); n > rdma.ExchangeMax {
		t.Errorf("%d bytes", n)
	}
}

func TestWireRefuses(t *testing.T) {
	for _, c := range []struct{ bytes, says string }{
		{"", "provider"},
		{"\x00\x01\x02", "provider"},
		{`{"tcp":1}`, "provider"},
		{`{"verbs":2,"op":"open"}`, "version 2"},
		{`{"verbs":1,"op":"open","from":1,"to":1,"side":{"gid":"AAAA"}}`, "GID of 3 bytes"},
		{`{"verbs":1,"op":"open","from":1,"to":1,"ring":4097}`, "ring of 4097 bytes"},
		{`{"verbs":1,"op":"open","from":1,"to":1,"ring":2147483648}`, "ring of 2147483648 bytes"},
	} {
		if _, err := decodeRequest([]byte(c.bytes)); !errors.Is(err, ErrPeer) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%q: %v", c.bytes, err)
		}
	}
	for _, c := range []struct {
		bytes string
		is    error
		says  string
	}{
		{"hello", ErrPeer, "node 4 does not answer as a verbs endpoint"},
		{`{"verbs":9}`, ErrPeer, "version 9"},
		{`{"verbs":1,"status":"no such life"}`, rdma.ErrNoPeer, "node 4"},
		{`{"verbs":1,"status":"nothing exposed"}`, rdma.ErrNoPeer, "exposed"},
		{`{"verbs":1,"status":"range","text":"x"}`, rdma.ErrRange, "x"},
		{`{"verbs":1,"status":"mtu","text":"1024 bytes here"}`, ErrMTU, "1024"},
		{`{"verbs":1,"status":"refused","text":"no memory"}`, ErrPeer, "no memory"},
	} {
		if _, err := decodeAnswer(4, []byte(c.bytes)); !errors.Is(err, c.is) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%q: %v", c.bytes, err)
		}
	}
	if err := checkMTU(4096, 1024, 3); !errors.Is(err, ErrMTU) || !strings.Contains(err.Error(), "4096 bytes here, 1024 at node 3") {
		t.Error(err)
	}
	if err := checkMTU(1024, 1024, 3); err != nil {
		t.Error(err)
	}
}

package verbs

import (
	"errors"
	"reflect"
	"slices"
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
		{`{"verbs":1,"op":"stage","off":5,"len":7}`, "version 1"}, // as that version asked
		{`{"verbs":3,"op":"new","field":{}}`, "version 3"},
		{`{"verbs":2,"op":"open","from":1,"to":1,"side":{"gid":"AAAA"}}`, "GID of 3 bytes"},
		{`{"verbs":2,"op":"open","from":1,"to":1,"ring":4097}`, "ring of 4097 bytes"},
		{`{"verbs":2,"op":"open","from":1,"to":1,"ring":2147483648}`, "ring of 2147483648 bytes"},
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
		{`{"verbs":9,"field":{}}`, ErrPeer, "version 9"},
		{`{"verbs":2,"status":"no such life"}`, rdma.ErrNoPeer, "node 4"},
		{`{"verbs":2,"status":"nothing exposed"}`, rdma.ErrNoPeer, "exposed"},
		{`{"verbs":2,"status":"range","text":"x"}`, rdma.ErrRange, "x"},
		{`{"verbs":2,"status":"mtu","text":"1024 bytes here"}`, ErrMTU, "1024"},
		{`{"verbs":2,"status":"refused","text":"no memory"}`, ErrPeer, "no memory"},
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

func TestRangesOfAPeerAreChecked(t *testing.T) {
	var b []byte
	ranges := []rdma.Range{{Off: 0, Len: 1}, {Off: 1<<63 - 1, Len: 1<<32 - 1}, {Off: 77, Len: 0}}
	for _, r := range ranges {
		b = appendRange(b, r)
	}
	got, n, err := decodeRanges(b)
	if err != nil || n != 1<<32 || !slices.Equal(got, ranges) {
		t.Errorf("%v, %d bytes, %v", got, n, err)
	}
	for _, bad := range [][]byte{nil, b[:1], b[:len(b)-1], make([]byte, (rangesMax+1)*rangeBytes)} {
		if _, _, err := decodeRanges(bad); !errors.Is(err, ErrPeer) {
			t.Errorf("%d bytes: %v", len(bad), err)
		}
	}
	full := make([]byte, rangesMax*rangeBytes)
	if _, _, err := decodeRanges(full); err != nil {
		t.Error(err)
	}
	if n := len(encodeWire(&request{Verbs: wireVersion, Op: opStage, From: 1<<32 - 1, To: 1<<32 - 1, Reader: 1<<64 - 1, Ranges: full})); n > rdma.ExchangeMax {
		t.Errorf("the longest request has %d bytes, at most %d", n, rdma.ExchangeMax)
	}
}

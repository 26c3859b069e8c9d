package lease

import (
	"testing"
	"time"
)

func TestHolder(t *testing.T) {
	var h Holder
	if h.Valid() {
		t.Fatal("a new holder holds something")
	}
	now := Now()
	hour := int64(time.Hour)
	if !h.Extend(now+hour, now) || !h.Valid() {
		t.Fatal("first lease")
	}
	g := h.Generation()
	if h.Extend(now+2*hour, now+hour/2) || h.Generation() != g || h.Until() != now+2*hour {
		t.Fatal("an extension in time is the same lease")
	}
	if h.Extend(now+hour, now) || h.Until() != now+2*hour {
		t.Fatal("a late answer shortened the lease")
	}
	if !h.Extend(now+4*hour, now+3*hour) || h.Generation() == g {
		t.Fatal("a lease won again after it ran out has the old generation")
	}
	g = h.Generation()
	h.Revoke()
	if h.Valid() || h.Generation() == g {
		t.Fatal("revoked")
	}
	if h.Extend(now-1, now) || h.Valid() {
		t.Fatal("a lease that is over already counts")
	}
	h.Extend(Now()+int64(time.Millisecond), Now())
	for end := time.Now().Add(10 * time.Second); h.Valid(); {
		if time.Now().After(end) {
			t.Fatal("never runs out")
		}
	}
}

func BenchmarkValid(b *testing.B) {
	var h Holder
	h.Extend(Now()+int64(time.Hour), Now())
	b.ReportAllocs()
	for b.Loop() {
		if !h.Valid() {
			b.Fatal("lost")
		}
	}
}

//go:build verbs

package verbs

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// wire is what Soft-RoCE has counted at one device.
type wire struct {
	sent   uint64 // packets, acknowledgements among them
	errors uint64 // anything that makes packets be sent once more
}

// countedAt reads the counters when they stand still: the kernel keeps what it
// shows for 10 ms, and a packet is counted after it was sent.
func countedAt(t *testing.T, device string) wire {
	t.Helper()
	read := func() (w wire) {
		for name, to := range map[string]*uint64{"sent_pkts": &w.sent, "completer_retry_err": &w.errors, "duplicate_request": &w.errors,
			"out_of_seq_request": &w.errors, "rcvd_seq_err": &w.errors, "retry_rnr_exceeded_err": &w.errors, "send_err": &w.errors} {
			text, err := os.ReadFile(filepath.Join("/sys/class/infiniband", device, "ports/1/hw_counters", name))
			if os.IsNotExist(err) && name != "sent_pkts" {
				continue // of another kernel
			}
			n, err2 := strconv.ParseUint(strings.TrimSpace(string(text)), 10, 64)
			if err != nil || err2 != nil {
				t.Fatalf("%s of %s: %v, %v", name, device, err, err2)
			}
			*to += n
		}
		return w
	}
	const kept = 25 * time.Millisecond
	before := read()
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); {
		time.Sleep(kept)
		now := read()
		if now == before {
			return now
		}
		before = now
	}
	t.Fatalf("%s does not come to rest: %+v", device, before)
	return wire{}
}

// acksMax bounds the acknowledgements of a reliable connection. The responder
// owes one where the requester asks, may answer several with one, and the
// requester asks at the end of each message at most, and within long ones now and
// then (Soft-RoCE: after 64 packets).
func acksMax(packets, messages uint64) uint64 { return messages + packets/64 }

// needTwoDevices names two Soft-RoCE devices of one network:
// HEALKV_VERBS_PEERS=rxe0,rxe1. A device does not count what it sends itself.
func needTwoDevices(t *testing.T) (first, second string) {
	t.Helper()
	names := os.Getenv("HEALKV_VERBS_PEERS")
	first, second, ok := strings.Cut(names, ",")
	switch {
	case names == "":
		skip(t, "two Soft-RoCE devices, HEALKV_VERBS_PEERS")
	case !ok:
		t.Fatalf("HEALKV_VERBS_PEERS=%q, want two devices", names)
	}
	return first, second
}

// Packets of a burst are at their minimum, as two devices count them: the bytes
// of all its entries in full packets, one packet with the line and all
// watermarks, and of the other end no more acknowledgements than there are work
// requests. The same entries posted one by one take more, and the count shows it.
func TestPacketsOfABurst(t *testing.T) {
	first, second := needTwoDevices(t)
	c := newCluster(t)
	c.verbs.Device = first
	a := c.end(0, 1)
	c.verbs.Device = second
	b := c.end(1, 1)
	p := &pair{c: c, a: a, b: b}
	p.attach(a, b)
	p.attach(b, a)
	a.Feed(1, 0)
	c.settle()
	mtu, size := a.dev.mtu, a.Out().Size()

	type tally struct{ bursts, packets, acks, writes, lines, wraps uint64 }
	// measure posts bursts of n entries, in lists of per entries, and compares. It
	// is false if packets were lost, which has nothing to do with us.
	measure := func(bursts, n, per int) (x tally, clean bool) {
		t.Helper()
		a.Out().Reclaim(a.Out().Tail())
		w0, w1, before := countedAt(t, first), countedAt(t, second), a.Counters()
		for range bursts {
			for k := range n {
				if _, _, ok := a.Out().Next(entryBytes); !ok {
					t.Fatal("ring full")
				}
				if (k+1)%per == 0 || k == n-1 {
					from := a.published
					a.Publish()
					a.WakePeers()
					data, writes := packetsOf(from, a.published, size, mtu)
					x.packets, x.writes, x.lines = x.packets+data+1, x.writes+writes, x.lines+1
					x.wraps += writes - 1
				}
			}
			x.bursts++
		}
		after := a.Counters()
		if after.Full != before.Full {
			return x, false // put off: bursts have become one
		}
		if after.WorkRequests-before.WorkRequests != x.writes+x.lines {
			t.Fatalf("%d work requests, want %d of bytes and %d lines", after.WorkRequests-before.WorkRequests, x.writes, x.lines)
		}
		c.settle() // its lines, to learn that all has arrived, are not the bursts'
		more := a.Counters().Lines - after.Lines
		if w := a.Counters().WorkRequests - after.WorkRequests; w != more {
			t.Fatalf("%d work requests of %d more lines", w, more)
		}
		v0, v1 := countedAt(t, first), countedAt(t, second)
		if v0.errors != w0.errors || v1.errors != w1.errors {
			return x, false
		}
		if sent := v0.sent - w0.sent; sent != x.packets+more {
			t.Errorf("%d bursts of %d entries, %d at once: %s sent %d packets, want %d and %d more lines", bursts, n, per, first, sent, x.packets, more)
		}
		messages := x.writes + x.lines + more
		x.acks = v1.sent - w1.sent
		if most := acksMax(x.packets+more, messages); x.acks == 0 || x.acks > most {
			t.Errorf("%d bursts of %d entries: %s sent %d acknowledgements of %d messages, want 1 to %d", bursts, n, second, x.acks, messages, most)
		}
		x.acks -= min(more, x.acks)
		return x, true
	}
	until := func(bursts, n, per int) tally {
		t.Helper()
		for range 30 {
			if x, clean := measure(bursts, n, per); clean || t.Failed() {
				return x
			}
		}
		t.Fatalf("bursts of %d entries: packets are lost in each of 30 attempts", n)
		return tally{}
	}
	const bursts, rounds = 4, 3
	total, perBurst := tally{}, ""
	for _, n := range []int{1, 3, mtu / entryBytes, mtu/entryBytes + 1, 100} {
		for range rounds {
			x := until(bursts, n, n)
			total.bursts, total.packets, total.acks, total.wraps = total.bursts+x.bursts, total.packets+x.packets, total.acks+x.acks, total.wraps+x.wraps
			perBurst = fmt.Sprintf("%d in %d packets", n*entryBytes, x.packets/x.bursts)
		}
		t.Logf("bursts of %s (line included), %d acknowledgements so far", perBurst, total.acks)
	}
	if total.bursts != 5*rounds*bursts || total.wraps == 0 {
		t.Errorf("%d bursts counted, %d wraps", total.bursts, total.wraps)
	}
	// That a post for each entry would be seen.
	together, single := until(1, 32, 32), until(1, 32, 1)
	if single.packets < 64 || single.packets < 10*together.packets {
		t.Errorf("32 entries: %d packets together, %d one by one", together.packets, single.packets)
	}
	t.Logf("%d bursts (%d wraps) over %s and %s, path MTU %d: %d packets, as counted by the devices, the least there can be; %d acknowledgements; 32 entries one by one: %d packets instead of %d",
		total.bursts, total.wraps, first, second, mtu, total.packets, total.acks, single.packets, together.packets)
}

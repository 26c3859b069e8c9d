package conformance

import (
	"testing"

	"healkv/rdma"
)

func sleeps(t *testing.T, f Fabric) {
	a, b := newEnd(t, f, 0, 1), newEnd(t, f, 1, 1)
	join(f, a, b)
	a.WakePeers()
	b.WakePeers()
	f.Settle()
	nothing := func() {}
	number := uint64(0)
	m := rdma.Marks{}
	news := []struct {
		name string
		make func()
	}{
		{"Wake", func() { b.Wake() }},
		{"Feed", func() { a.Feed(1, a.Out().Tail()); a.WakePeers(); f.Settle() }},
		{"Publish", func() { a.put(number, 64); number++; a.Publish(); a.WakePeers(); f.Settle() }},
		{"PublishMarks", func() { m.Visible++; a.PublishMarks(1, &m); a.WakePeers(); f.Settle() }},
	}
	for round := range 50 {
		for _, x := range news {
			if x.name == "Feed" {
				a.detach(b)
				a.attach(b)
				a.WakePeers()
				f.Settle()
			}
			if round%2 == 0 {
				f.Sleep(b.Endpoint, x.make, nothing)
			} else {
				f.Sleep(b.Endpoint, nothing, x.make)
			}
		}
		b.PrepareSleep()
		b.CancelSleep()
		b.PrepareSleep()
		b.Sleep(0)
		a.Out().Reclaim(a.Out().Tail())
	}
	// News from before PrepareSleep were seen by looking once more; they do not
	// end the sleep, and do not disturb it.
	a.put(number, 64)
	a.Publish()
	a.WakePeers()
	b.Wake()
	f.Settle()
	f.Sleep(b.Endpoint, nothing, func() { b.Wake() })
	t.Logf("%d sleeps", 50*len(news)+1)
}

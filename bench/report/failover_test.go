package report

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"testing"

	"healkv/bench/record"
)

// trace makes one node's windows from the moments of its writes, ms.
func trace(node int, writes []int64) NodeTrace {
	at := map[int64]*record.Window{}
	n := NodeTrace{Node: node}
	window := func(ms int64) *record.Window {
		i := ms * msec / record.WindowNanos
		if at[i] == nil {
			at[i] = &record.Window{Index: i, FirstWrite: -1, LastWrite: -1}
		}
		return at[i]
	}
	for _, x := range writes {
		w := window(x)
		off := int32(x*msec - w.Start())
		if w.FirstWrite < 0 {
			w.FirstWrite = off
		}
		w.LastWrite = off
		w.Writes++
	}
	for i := int64(0); i < 1000; i++ {
		if at[i] != nil {
			n.Windows = append(n.Windows, *at[i])
		}
	}
	return n
}

func TestGaps(t *testing.T) {
	a := trace(0, []int64{100, 101, 105, 180, 190})
	b := trace(1, []int64{102, 150, 188})
	for _, c := range []struct {
		nodes    []NodeTrace
		from, to int64
		gap, at  int64
	}{
		{[]NodeTrace{a}, 103, 200, 75, 105},
		{[]NodeTrace{b}, 103, 200, 48, 102},
		{[]NodeTrace{a, b}, 103, 200, 45, 105},
		{[]NodeTrace{a, b}, 120, 200, 45, 105}, // it began before
		{[]NodeTrace{a}, 103, 150, 45, 105},    // it is cut off
		{[]NodeTrace{trace(0, nil)}, 100, 200, 100, 100},
	} {
		gap, at := WriteGap(c.nodes, c.from*msec, c.to*msec)
		if gap != c.gap*msec || at != c.at*msec {
			t.Errorf("%d to %d ms: a gap of %d ns at %d, want %d ms at %d", c.from, c.to, gap, at, c.gap, c.at)
		}
	}
}

func TestFailoverSection(t *testing.T) {
	in := syntheticInput(t)
	in.Failover = []Failover{
		{Kind: "SIGKILL", Provider: "shm", What: "the kernel proves the death", Bound: 20 * msec, ReadBound: 50 * msec, Times: []FailoverTime{{Stall: 9 * msec, Before: 12 * msec}, {Stall: 31 * msec, View: 22 * msec, Read: 4 * msec, Reads: 900}, {Stall: 15 * msec, View: 12 * msec}}},
		{Kind: "SIGSTOP", Provider: "shm", What: "its lease must lapse", Times: []FailoverTime{{Stall: 4000 * msec, View: 3900 * msec}, {Stall: 4200 * msec, View: 3990 * msec}}},
	}
	r, err := Compute(in)
	if err != nil {
		t.Fatal(err)
	}
	f := r.Failover[0]
	if f.Count != 3 || f.StallMinMs != 9 || f.StallMedianMs != 15 || f.StallMaxMs != 31 || f.ViewMedianMs != 12 || f.ReadMaxMs != 4 || f.Reads != 900 || r.Failover[1].StallMedianMs != 4100 {
		t.Errorf("%+v", r.Failover)
	}
	var text, html bytes.Buffer
	if err := errors.Join(r.WriteTerminal(&text), r.WriteHTML(&html)); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"SIGKILL, shm", "SIGSTOP, shm", "second before", "15.0 ms", "31.0 ms", "4.10 s", "4.00 ms", "4.20 s"} {
		if !strings.Contains(text.String(), want) || !strings.Contains(html.String(), want) {
			t.Errorf("%q is not in the text or not in the page:\n%s", want, text.String())
		}
	}
	if !strings.Contains(html.String(), "Failover, kind by kind") || !strings.Contains(html.String(), "its lease must lapse") {
		t.Error("the page has no such section")
	}
	in.Failover[1].Times = nil
	if _, err := Compute(in); !errors.Is(err, ErrInput) {
		t.Errorf("a kind that was done no times: %v", err)
	}
}

func TestPlannedSections(t *testing.T) {
	in := syntheticInput(t)
	in.Rolling = &Rolling{Clients: 4, Operations: 5120, Retried: 31, Unknown: 2, Nodes: []RollingNode{
		{Node: 0, Left: 40 * msec, Away: 900 * msec, Stall: 12 * msec, Kind: "heal", Bytes: 4096, Unknown: 2}, {Node: 1, Left: 50 * msec, Away: 800 * msec, Kind: "heal"}}}
	in.Cold = []ColdStart{{Provider: "shm", Domain: "memory", Nodes: 6, Cold: 18, Acked: 77000, Times: []int64{900 * msec, 700 * msec, 710 * msec}}}
	r, err := Compute(in)
	if err != nil {
		t.Fatal(err)
	}
	var text, html bytes.Buffer
	if err := errors.Join(r.WriteTerminal(&text), r.WriteHTML(&html)); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"Rolling restart", "cold start", "31 tries", "2 of unknown outcome", "710 ms", "900 ms", "12.0 ms", "4.10 kB"} {
		if !strings.Contains(text.String(), want) || !strings.Contains(html.String(), want) {
			t.Errorf("%q is not in the text or not in the page:\n%s", want, text.String())
		}
	}
	in.Rolling.Operations = 0
	if _, err := Compute(in); !errors.Is(err, ErrInput) {
		t.Errorf("a rolling restart without an operation: %v", err)
	}
	in.Rolling, in.Cold[0].Times = nil, nil
	if _, err := Compute(in); !errors.Is(err, ErrInput) {
		t.Errorf("no cold start: %v", err)
	}
}

// Every promise is judged by the worst of its times, and a broken one is named.
func TestBounds(t *testing.T) {
	kill := func(bound int64, unjudged string, stalls ...int64) Failover {
		f := Failover{Kind: "SIGKILL", Provider: "shm", Bound: bound * msec, BoundSays: "as stated", Unjudged: unjudged}
		for _, s := range stalls {
			f.Times = append(f.Times, FailoverTime{Stall: s * msec, Read: 3 * msec, Reads: 10})
		}
		return f
	}
	busy := kill(20, "", 25)
	busy.Times[0].Before = 23 * msec
	slow := kill(0, "", 5)
	slow.ReadBound = 2 * msec
	unread := kill(0, "", 5)
	unread.ReadBound, unread.Times[0].Reads = 5*msec, 0
	rolling := func(unknown uint64, kind string) *Rolling {
		return &Rolling{Clients: 6, Operations: 100, Unknown: unknown, Nodes: []RollingNode{{Kind: "heal"}, {Kind: kind}}}
	}
	cold := func(came int, acked, lost uint64) []ColdStart {
		return []ColdStart{{Provider: "shm", Domain: "file", Nodes: 6, Times: []int64{msec, 2 * msec}, Cold: came, Acked: acked, Lost: lost}}
	}
	cases := map[string]struct {
		in   Input
		want []string
		says string
	}{
		"kept":                    {Input{Failover: []Failover{kill(20, "", 5, 20)}}, []string{Pass}, ""},
		"over once":               {Input{Failover: []Failover{kill(20, "", 5, 21, 6)}}, []string{Over}, "1 of 3 times"},
		"over, as before it":      {Input{Failover: []Failover{busy}}, []string{Over}, "paused for 23.0 ms too"},
		"its condition is absent": {Input{Failover: []Failover{kill(20, "pages of 4KiB", 90)}}, []string{NotJudged}, "pages of 4KiB"},
		"no bound":                {Input{Failover: []Failover{kill(0, "", 90)}}, nil, ""},
		"slow reads":              {Input{Failover: []Failover{slow}}, []string{Over}, "longest of 10 reads 3.00 ms"},
		"no reads":                {Input{Failover: []Failover{unread}}, []string{Over}, "none takes more than 5.00 ms"},
		"rolling":                 {Input{Rolling: rolling(0, "heal")}, []string{Pass, Pass}, "no operation fails"},
		"rolling, one failed":     {Input{Rolling: rolling(1, "heal")}, []string{Over, Pass}, "1 of 100 operations failed"},
		"rolling, a full copy":    {Input{Rolling: rolling(0, "full")}, []string{Pass, Over}, "1 of 2"},
		"cold":                    {Input{Cold: cold(12, 9, 0)}, []string{Pass}, "12 of 12 by cold start"},
		"cold, one healed":        {Input{Cold: cold(11, 9, 0)}, []string{Over}, "11 of 12 by cold start"},
		"cold, one write lost":    {Input{Cold: cold(12, 9, 1)}, []string{Over}, "1 lost"},
		"cold, nothing looked at": {Input{Cold: cold(12, 0, 0)}, []string{Over}, "0 acknowledged writes"},
	}
	in, pages := syntheticInput(t), 0
	for name, c := range cases {
		in.Failover, in.Rolling, in.Cold = c.in.Failover, c.in.Rolling, c.in.Cold
		r, err := Compute(in)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		broken := 0
		for _, b := range r.Bounds {
			if got = append(got, b.Verdict); b.Verdict == Over {
				broken++
			}
		}
		if !slices.Equal(got, c.want) || len(r.Bounds.Broken()) != broken {
			t.Errorf("%s: %v, broken %q; want %v", name, got, r.Bounds.Broken(), c.want)
		}
		var text, html bytes.Buffer
		if err := r.WriteTerminal(&text); err != nil {
			t.Fatal(err)
		}
		says := []string{text.String()}
		if name == "over once" || name == "no bound" { // a page takes its time
			if err := r.WriteHTML(&html); err != nil {
				t.Fatal(err)
			}
			says = append(says, html.String())
			if strings.Contains(says[1], "✗ broken") != (broken > 0) || strings.Contains(says[1], "What is promised") != (len(got) > 0) {
				t.Errorf("%s: the page does not tell", name)
			}
			pages++
		}
		for _, s := range says {
			for _, want := range append(got, c.says) {
				if !strings.Contains(s, want) {
					t.Errorf("%s: %q is not in the text or not on the page:\n%s", name, want, text.String())
				}
			}
		}
	}
	if pages != 2 {
		t.Errorf("%d pages looked at", pages)
	}
	t.Logf("%d cases judged", len(cases))
}

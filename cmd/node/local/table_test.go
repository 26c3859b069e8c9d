package local

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"
)

// What an operator has to see at a glance, from what nodes say.
func TestTable(t *testing.T) {
	said := []string{
		`{"node":0,"pid":10,"role":"live","epoch":7,"incarnation":1,"live":[0],"shadow":[1],"lease_left_ns":1200000000,"device":"tcp (127.0.0.1:7300)",
		  "pool_bytes":1073741824,"pool_used_bytes":536870912,"last_recovery":{"kind":"heal","total":2500000},
		  "membership":{"view":{"Configured":15,"Cold":false},"stopped":"disk is full","suspects":[{"member":{"Node":2,"Incarnation":3},"class":"unreachable","why":"no beat for 812 ms"}]}}`,
		`{"node":1,"pid":11,"role":"shadow","epoch":6,"blocked":"","recovery":{"phase":"transfer","for_ns":1200000000,"done":536870912,"expected":1073741824,"rate":268435456,"left_ns":2000000000},
		  "membership":{"suspects":[{"member":{"Node":2},"why":"no beat for 900 ms"}]}}`,
		`{"node":2,"pid":12,"role":"fenced","epoch":6,"blocked":"no lease: acceptors 2 of 0-2 answer, 2 needed"}`,
	}
	var states []State
	for i, text := range said {
		s := State{Ready: i == 0}
		if err := json.Unmarshal([]byte(text), &s); err != nil {
			t.Fatal(err)
		}
		states = append(states, s)
	}
	var out bytes.Buffer
	if err := Table(&out, states); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(out.String(), "\n")
	for i, want := range [][]string{
		{"VIEW  epoch 7: live 0, shadow 1, away 2,3"},
		{"NODE", "ROLE", "LEASE", "SUSPECTED BY", "RECOVERY"},
		{"live", "1.2s left", "50.0% of 1GiB", "heal 2.5 ms"},
		{"shadow", "transfer 50 % of 1GiB, 256MiB/s, 2s left (for 1.2s)"},
		{"fenced", "0,1"},
		{""},
		{"node 0 votes no more: disk is full"},
		{"node 0 suspects node 2: unreachable: no beat for 812 ms"},
		{"node 1 suspects node 2: no beat for 900 ms"},
		{"node 2, fenced: no lease: acceptors 2 of 0-2 answer, 2 needed"},
	} {
		if i >= len(lines) {
			t.Fatalf("only %d lines:\n%s", len(lines), out.String())
		}
		for _, part := range want {
			if !strings.Contains(lines[i], part) {
				t.Errorf("line %d lacks %q: %q", i, part, lines[i])
			}
		}
	}
	for want, states := range map[string][]State{
		"VIEW  none: no node answers": {{Role: "down"}},
		"VIEW  none yet":              {{Role: "joining"}},
		"VIEW  epoch 3: live -, shadow 0, away -; cold start: the shadows become live together": {{Role: "cold", Epoch: 3, Shadow: []int{0},
			Membership: Membership{View: View{Cold: true}}}},
	} {
		if got := viewLine(states); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	if got := (&Way{Phase: "hello", For: 3 * time.Second}).String(); got != "hello (for 3s)" {
		t.Error(got)
	}
}

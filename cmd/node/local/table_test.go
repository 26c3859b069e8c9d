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
	if strings.Contains(out.String(), "CERTIFICATE") {
		t.Error("certificates where nodes need none")
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

// A certificate's end, what is left, and whether the authority is being changed.
func TestTableOfCertificates(t *testing.T) {
	said := []string{
		`{"node":0,"role":"live","certificate":{"not_after":"2031-05-06T07:08:09Z","days_left":211.9,"authorities":1}}`,
		`{"node":1,"role":"live","certificate":{"not_after":"2030-11-12T07:08:09Z","days_left":6.7,"authorities":2,"error":"key has mode 0644"}}`,
		`{"node":2,"role":"live","certificate":{"not_after":"2030-10-12T07:08:09Z","days_left":-0.1,"authorities":1}}`,
		`{"node":3,"role":"down","error":"connection refused"}`,
	}
	var states []State
	for _, text := range said {
		var s State
		if err := json.Unmarshal([]byte(text), &s); err != nil {
			t.Fatal(err)
		}
		states = append(states, s)
	}
	var out bytes.Buffer
	if err := Table(&out, states); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"POOL  CERTIFICATE", "until 2031-05-06, 211 days left, 1 authority ", "until 2030-11-12, 6 days left, 2 authorities", "until 2030-10-12, EXPIRED, 1 authority",
		"node 1: its certificate is valid until 2030-11-12 07:08 UTC, 6 days left: issue a new one", "node 1: its certificate files are not in use: key has mode 0644",
		"node 2: its certificate is valid until 2030-10-12 07:08 UTC, EXPIRED", "connection refused"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("lacks %q:\n%s", want, out.String())
		}
	}
	if strings.Contains(out.String(), "node 0: its") {
		t.Errorf("a good certificate is complained of:\n%s", out.String())
	}
}

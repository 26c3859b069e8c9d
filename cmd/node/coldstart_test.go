package main

import (
	"strings"
	"testing"

	"healkv/cmd/node/local"
)

// The order goes to a node that takes it, wherever that stands in the list.
func TestColdStartRecipient(t *testing.T) {
	node := func(n int, role string, epoch uint32, live, shadow []int, cold bool) local.State {
		s := local.State{Node: n, Role: role, Epoch: epoch, Live: live, Shadow: shadow}
		s.Membership.View.Cold = cold
		return s
	}
	down := func(n int) local.State { return node(n, "down", 0, nil, nil, false) }
	live := []int{2, 3}
	cases := []struct {
		name    string
		states  []local.State
		without []int
		want    int
		err     string
	}{
		{"a member before those that were away",
			[]local.State{node(0, "joining", 9, live, nil, false), node(1, "joining", 9, live, nil, false), down(2), node(3, "joining", 9, live, nil, false)}, []int{2}, 3, ""},
		{"by the newest view that is known",
			[]local.State{node(0, "joining", 5, []int{0, 1, 2, 3}, nil, false), node(1, "joining", 5, []int{0, 1, 2, 3}, nil, false), node(2, "joining", 9, live, nil, false), down(3)}, []int{3}, 2, ""},
		{"a cold start that was cut off goes by its shadows",
			[]local.State{node(0, "joining", 9, nil, live, true), down(1), node(2, "joining", 9, nil, live, true), down(3)}, []int{3}, 2, ""},
		{"no shadow of a view with live members",
			[]local.State{node(0, "joining", 9, live, []int{0}, false), down(1), node(2, "joining", 9, live, nil, false), down(3)}, []int{3}, 2, ""},
		{"no member answers but the lost one: another one says why",
			[]local.State{down(0), node(1, "joining", 9, live, nil, false), down(2), node(3, "joining", 9, live, nil, false)}, []int{2, 3}, 1, ""},
		{"stopped is no answer",
			[]local.State{down(0), down(1), node(2, "stopped", 9, live, nil, false), node(3, "joining", 9, live, nil, false)}, []int{0}, 3, ""},
		{"nobody answers", []local.State{down(0), down(1), down(2), down(3)}, []int{2}, 0, "no node answers"},
		{"only the lost answer", []local.State{down(0), down(1), node(2, "joining", 9, live, nil, false), down(3)}, []int{2}, 0, "only nodes 2 answer"},
	}
	for _, c := range cases {
		got, err := preferred(c.states, c.without)
		if c.err == "" && (err != nil || got != c.want) || c.err != "" && (err == nil || !strings.Contains(err.Error(), c.err)) {
			t.Errorf("%s: node %d, %v; want node %d, %q", c.name, got, err, c.want, c.err)
		}
	}
	t.Logf("%d cases", len(cases))
}

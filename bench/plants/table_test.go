package plants

import (
	"slices"
	"strings"

	"healkv/dataplane/plant"
)

// row is one cure left out, or several that stand for one another.
type row struct {
	bugs []plant.Bug
	left string // what the code then does not do
	by   check  // what must notice it
	why  string // instead of by: inCluster
}

// also are the second finders of a row.
func (r *row) also() []check {
	if len(r.bugs) != 1 {
		return nil
	}
	return seconds[r.bugs[0]]
}

func (r *row) name() string {
	var names []string
	for _, b := range r.bugs {
		names = append(names, string(b))
	}
	return strings.Join(names, ",")
}

func one(b plant.Bug, left string, by check) row {
	return row{bugs: []plant.Bug{b}, left: left, by: by}
}

// simulate is a run of the protocol's simulation that stops at the first seed
// that fails.
func simulate(seeds string) check {
	return check{pkg: "heal/rejoin", run: "^TestCluster$", args: "-stop -seeds " + seeds}
}

// checks of a row: the one named for it, and if asked those that concern its
// package.
func (r *row) checks(places map[plant.Bug]place, all bool) []check {
	var list []check
	if r.by != (check{}) {
		list = append(list, r.by)
	}
	if !all {
		return list
	}
	folder := places[r.bugs[0]].folder()
	more := []check{unit(folder)}
	switch {
	case slices.Contains([]string{"dataplane/proto", "dataplane/replica", "heal/rejoin"}, folder):
		more = []check{unit("dataplane/replica"), simulate("1200")}
	case folder == "dataplane":
		more = append(more, check{pkg: "dataplane", run: ".", long: true})
	case strings.HasPrefix(folder, "pmem"):
		more = append(more, unit("pmem"), unit("pmem/store"), unit("pmem/seglog"))
	}
	for _, c := range more {
		if !slices.Contains(list, c) {
			list = append(list, c)
		}
	}
	return list
}

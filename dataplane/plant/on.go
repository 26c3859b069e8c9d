//go:build plant

package plant

import (
	"os"
	"slices"
	"strconv"
	"strings"
)

// On says that bugs can be planted in this build.
const On = true

// one, two and three are what HEALKV_PLANT names, node is where the first acts.
var (
	one, two, three Bug
	node            = -1
)

func init() {
	for i, name := range strings.Split(os.Getenv("HEALKV_PLANT"), ",") {
		name, at, named := strings.Cut(name, "@")
		if named {
			n, err := strconv.Atoi(at)
			if err != nil {
				panic("plant: HEALKV_PLANT: no node: " + at)
			}
			node = n
		}
		if name != "" && !slices.Contains(All, Bug(name)) {
			panic("plant: HEALKV_PLANT: no such bug: " + name)
		}
		switch i {
		case 0:
			one = Bug(name)
		case 1:
			two = Bug(name)
		case 2:
			three = Bug(name)
		default:
			panic("plant: HEALKV_PLANT names more than three bugs")
		}
	}
}

// Is reports whether the bug is planted.
func Is(b Bug) bool { return b == one || b == two || b == three }

// At is Is for a bug of one node, named behind the @.
func At(b Bug, n int) bool { return b == one && n == node }

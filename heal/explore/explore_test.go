package explore

import (
	"flag"
	"strings"
	"testing"
	"time"

	"healkv/dataplane/proto"
)

var (
	onlyConfig = flag.String("explore.config", "", "explore only configurations with this in their name")
	onlyModel  = flag.String("explore.model", "", "explore only this model")
	moreTime   = flag.Duration("explore.time", 0, "explore the large configurations too, each for so long at most")
	maxStates  = flag.Uint64("explore.states", 2_000_000, "states of one configuration at most")
)

func TestConfigurations(t *testing.T) {
	for _, m := range proto.Models() {
		if *onlyModel != "" && m.String() != *onlyModel {
			continue
		}
		small := configs(m)
		for i := range small {
			c := &small[i]
			if !strings.Contains(c.Name, *onlyConfig) {
				continue
			}
			e, err := New(c)
			if err != nil {
				t.Fatal(err)
			}
			r := e.Run(Limit{States: *maxStates})
			t.Log(r)
			if r.Violation != nil {
				t.FailNow()
			}
		}
	}
	_ = time.Second
	_ = moreTime
}

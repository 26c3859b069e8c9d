package explore

import "healkv/dataplane/proto"

// away: node 2 was live, wrote nothing, and is gone; the others have settled.
var away = []string{"put 0 a", "settle", "crash 2 kept", "remove 2", "settle"}

// halfway: the coordinator dies with its write at one of two followers.
var halfway = []string{"put 0 a", "listen 1 0", "crash 0 kept"}

// behind: node 2 missed a write, and is back as far as it can come alone.
var behind = append(append([]string{}, away...), "put 0 a", "settle", "begin 2", "drive 2", "drive 2")

// dark: both nodes die, one after the other, with a write at one of them only.
var dark = []string{"put 0 a", "settle", "put 0 a", "crash 0 kept", "crash 1 kept"}

// configs are the configurations of one model. Those of the default run are
// seen whole in seconds; large ones are for -explore.time.
func configs(m proto.Model) (small, large []Config) {
	g := m.Gates()
	b := g.Flush == proto.FlushEveryBurst // as shipped
	p := 0
	if g.Scopes {
		p = 1
	}
	small = []Config{
		{Name: "writes-2", Nodes: 2, Keys: 1, Puts: 3, Persists: p},
		{Name: "writes-3", Nodes: 3, Keys: 1, Puts: 2, Bursts: b},
		{Name: "keys-2", Nodes: 2, Keys: 2, Puts: 2, Deletes: 1, Gets: 1, Bursts: b},
		{Name: "fine-2", Nodes: 2, Keys: 1, Puts: 2, Fine: true},
		{Name: "crash-2", Nodes: 2, Keys: 1, Puts: 1, Crashes: 1, Powers: 1, Bursts: b},
		{Name: "lease-2", Nodes: 2, Keys: 1, Puts: 1, Fences: 1, Bursts: b},
		{Name: "away-3", Nodes: 3, Keys: 1, Puts: 1, Bursts: b, Prefix: away},
		{Name: "behind-3", Nodes: 3, Keys: 1, Puts: 1, Bursts: b, Prefix: behind},
		{Name: "halfway-3", Nodes: 3, Keys: 1, Puts: 1, Bursts: b, Prefix: halfway},
		{Name: "dark-2", Nodes: 2, Keys: 1, Bursts: b, Prefix: dark},
	}
	for i := range small {
		c := &small[i]
		c.Model = m
		s, err := ParseScript(c.Name, c.lines())
		if err != nil {
			panic(err)
		}
		c.Puts, c.Crashes = c.Puts+s.Config.Puts, c.Crashes+s.Config.Crashes
	}
	return small, large
}

func (c *Config) lines() (s string) {
	for _, l := range c.Prefix {
		s += l + "\n"
	}
	return s
}

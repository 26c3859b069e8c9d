package explore

import "healkv/dataplane/proto"

// Where some configurations begin.
var (
	// away2, away3: the last node was live, is gone, and the others have settled.
	away2 = []string{"put 0 a", "settle", "crash 1 kept", "remove 1", "settle"}
	away3 = []string{"put 0 a", "settle", "crash 2 kept", "remove 2", "settle"}
	// behind2, behind3: it missed a write, and is a shadow now.
	behind2 = append(away2[:5:5], "put 0 a", "settle", "begin 1", "drive 1", "drive 1")
	behind3 = append(away3[:5:5], "put 0 a", "settle", "begin 2", "drive 2", "drive 2")
	// gone3: the last node is dead, the others do not know it yet.
	gone3 = []string{"put 0 a", "settle", "crash 2 kept"}
	// halfway: the coordinator dies with its write at one follower.
	halfway2 = []string{"put 0 a", "listen 1 0", "crash 0 kept"}
	halfway3 = []string{"put 0 a", "listen 1 0", "crash 0 kept", "remove 0"}
	// lost: it dies with its write nowhere else, and loses it.
	lost2 = []string{"put 0 a", "settle", "put 0 a", "crash 0 power 0", "remove 0", "install 1 2", "settle"}
	// dark: all die, with a write at one only.
	dark2  = []string{"put 0 a", "settle", "put 0 a", "crash 0 kept", "crash 1 kept"}
	other2 = []string{"put 0 a", "settle", "put 1 a", "crash 0 kept", "crash 1 kept"}
	dark3  = append(away3[:5:5], "put 0 a", "settle", "crash 0 kept", "crash 1 kept")
	// shown: it dies when its write can be read, which the others do not know,
	// and which nobody else has flushed.
	shown3 = []string{"put 0 a", "listen 1 0", "listen 2 0", "listen 0 1", "listen 0 2", "crash 0 kept", "remove 0"}
	// twice: one is away for long, another came back meanwhile, and will be its buddy.
	twice3 = append(away3[:5:5], "put 0 a", "settle", "crash 1 kept", "remove 1", "settle", "put 0 a", "settle", "begin 1", "settle",
		"crash 0 kept", "remove 0", "settle", "begin 2", "drive 2", "drive 2")
	// torn: the follower has applied a write and lost it again.
	torn2 = []string{"put 0 a", "listen 1 0", "crash 1 power 0", "remove 1"}
	// scope: a follower has a write, which a PERSIST may ask for.
	scope2 = []string{"put 0 a", "listen 1 0"}
	// persisted: all lose power when a PERSIST has its answer, and a later write
	// has none.
	persisted2 = []string{"put 0 a", "listen 1 0", "listen 0 1", "persist 0", "settle", "put 0 a", "crash 0 power 0", "crash 1 power 0"}
)

// configs are the configurations of one model that a default run sees, whole
// but for those named -part.
func configs(m proto.Model) (list []Config) {
	g := m.Gates()
	b := g.Flush == proto.FlushEveryBurst // as shipped
	p := 0
	if g.Scopes {
		p = 1
	}
	list = []Config{
		{Name: "writes-2", Nodes: 2, Keys: 1, Puts: 3, Persists: p},
		{Name: "writes-3", Nodes: 3, Keys: 1, Puts: 2, Bursts: b},
		{Name: "flushes-3", Nodes: 3, Keys: 1, Puts: 2},
		{Name: "keys-2", Nodes: 2, Keys: 2, Puts: 2, Deletes: 1, Bursts: b},
		{Name: "reads-2", Nodes: 2, Keys: 1, Puts: 2, Gets: 2},
		{Name: "fine-2", Nodes: 2, Keys: 1, Puts: 2, Fine: true},
		{Name: "lost-2", Nodes: 2, Keys: 1, Puts: 1, Prefix: lost2},
		{Name: "torn-2", Nodes: 2, Keys: 1, Prefix: torn2},
		{Name: "dark-2", Nodes: 2, Keys: 1, Prefix: dark2},
		{Name: "dark-2-other", Nodes: 2, Keys: 1, Puts: 1, Bursts: b, Prefix: other2},
		{Name: "halfway-2", Nodes: 2, Keys: 1, Puts: 1, Bursts: b, Prefix: halfway2},
		{Name: "halfway-3", Nodes: 3, Keys: 1, Bursts: b, NoRestart: true, Puts: 1, Prefix: halfway3},
		{Name: "behind-2", Nodes: 2, Keys: 1, Puts: 2, Prefix: behind2},
		{Name: "behind-2-power", Nodes: 2, Keys: 1, Crashes: 1, Powers: 1, CrashOnly: 2, Prefix: behind2},
		{Name: "behind-3", Nodes: 3, Keys: 1, Puts: 1, PutOnly: 2, Bursts: b, Prefix: behind3},
		{Name: "behind-2-buddy", Nodes: 2, Keys: 1, Crashes: 1, CrashOnly: 1, Bursts: b, Prefix: behind2},
		{Name: "behind-2-fenced", Nodes: 2, Keys: 1, Puts: 1, PutOnly: 1, Fences: 1, LoseOnly: 2, Bursts: b, Prefix: behind2},
		{Name: "copy-2", Nodes: 2, Keys: 1, Puts: 1, FullCopy: true, Prefix: away2},
		{Name: "dark-2-again", Nodes: 2, Keys: 1, Crashes: 1, CrashOnly: 1, Bursts: b, Prefix: dark2},
		{Name: "behind-3-dies", Nodes: 3, Keys: 1, Puts: 1, PutOnly: 1, Crashes: 1, NoRestart: true, CrashOnly: 1, Bursts: b, Prefix: behind3},
		{Name: "dark-3", Nodes: 3, Keys: 1, Bursts: b, Prefix: dark3},
		{Name: "shown-3", Nodes: 3, Keys: 1, Crashes: 1, Powers: 1, CrashOnly: 2, NoRestart: true, Prefix: shown3},
		{Name: "twice-3", Nodes: 3, Keys: 1, Bursts: b, Prefix: twice3},
		{Name: "gone-3", Nodes: 3, Keys: 1, Puts: 2, NoRestart: true, Bursts: b, Prefix: gone3},
		{Name: "restart-3", Nodes: 3, Keys: 1, Bursts: b, Prefix: gone3},
		{Name: "dies-3", Nodes: 3, Keys: 1, Puts: 2, PutOnly: 1, Crashes: 1, Powers: 1, NoRestart: true, Bursts: b},
		{Name: "lease-2", Nodes: 2, Keys: 1, Puts: 1, Fences: 1, Bursts: b},
		{Name: "crash-2", Nodes: 2, Keys: 1, Puts: 1, Crashes: 1, Powers: 1, Bursts: b},
	}
	if g.Scopes {
		list = append(list,
			Config{Name: "scope-2", Nodes: 2, Keys: 1, Persists: 1, Crashes: 2, Powers: 2, Prefix: scope2},
			Config{Name: "scope-2-dark", Nodes: 2, Keys: 1, Prefix: persisted2},
			Config{Name: "scope-3", Nodes: 3, Keys: 1, Persists: 1, Crashes: 1, Powers: 1, CrashOnly: 1, NoRestart: true, Prefix: scope2})
	}
	for i := range list {
		c := &list[i]
		c.Model = m
		s, err := ParseScript(c.Name, c.lines())
		if err != nil {
			panic(err)
		}
		c.Puts, c.Crashes, c.Powers, c.Persists = c.Puts+s.Config.Puts, c.Crashes+s.Config.Crashes, c.Powers+s.Config.Powers, c.Persists+s.Config.Persists
	}
	return list
}

func (c *Config) lines() (s string) {
	for _, l := range c.Prefix {
		s += l + "\n"
	}
	return s
}

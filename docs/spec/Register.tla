------------------------------ MODULE Register ------------------------------
(* The view register and the lease of one member, as docs/protocol.md has    *)
(* them: acceptors with a durable vote, proposers that change the value in   *)
(* place (heal/membership/register), and what acceptors grant and a holder   *)
(* counts on (heal/membership/grant). README.md says which action is which   *)
(* function of the code and what is left out.                                *)
(*                                                                           *)
(* A value is the sequence of changes that led to it, so its length is the   *)
(* register's sequence number. One change is "drop": the view without the    *)
(* holder. Messages are never taken back: what was sent can arrive late,     *)
(* again, or never.                                                          *)
(*                                                                           *)
(* Time is what is left on timers, each on its owner's clock. off[a] is by   *)
(* how much a's clock is ahead of the holder's: it stays in a window as wide *)
(* as the drift, so within a lease the two differ by the drift at most.      *)
(*                                                                           *)
(* Without names cures that are left out: each stands as Cure("Hn").         *)
EXTENDS Naturals, Sequences, FiniteSets, TLC

CONSTANTS
  Acc,          \* acceptors: model values, they are all alike
  Proposers,    \* how many
  Rounds,       \* ballots of each
  Changes,      \* strings; "drop" takes the holder out
  Lead,         \* a chosen value leaves its proposer the next ballot, promised
  Lease,        \* what an acceptor guards; the holder counts Lease - Drift
  Drift,        \* by which two clocks may differ within a lease
  MaxRequests,  \* of the holder, for its lease
  MaxRestarts,  \* of acceptors
  MaxCopies,    \* of them, with a file as it was when it was made
  Tells,        \* chosen values also come by word of mouth
  MayDie,       \* the holder's process may be killed
  Without       \* cures left out

VARIABLES
  prom, at,     \* [a]: highest ballot promised; [b, v] accepted last. Durable
  g, quiet,     \* [a]: left of the guard of the holder's lease; of the quiet after a restart
  off,          \* [a]: see above
  voting,       \* [a]: it has caught up since its file came back older
  lived,        \* [a]: ballots that had begun when its file came back older
  begun,        \* ballots that were begun
  led,          \* those of them that began with a lead
  pr,           \* [b][a]: the promise as the proposer has it: what a had accepted, or None
  prop,         \* [b]: values sent for acceptance
  votes,        \* [a]: what it ever accepted: set of [b, v]
  age,          \* [r]: what the holder may count if request r is granted now; 0 at the end
  sent,         \* requests sent
  given,        \* [r]: acceptors that granted it
  way,          \* grants under way to the holder: set of <<a, r>>
  hold,         \* [a]: what the holder still counts on a's newest grant
  alive, open,  \* the holder's process runs; somebody listens at its address
  nr, nc        \* restarts, older copies so far

regV == << prom, at, votes >>
propV == << begun, led, pr, prop >>
timeV == << g, quiet, off >>
holdV == << age, sent, given, way, hold >>
lifeV == << alive, open >>
copyV == << voting, lived, nr, nc >>
vars == << regV, propV, timeV, holdV, lifeV, copyV >>

Cure(h) == h \notin Without
None == [b |-> 0, v |-> << "none" >>]
Nil == [b |-> 0, v |-> << >>]
Majority == {Q \in SUBSET Acc : 2 * Cardinality(Q) > Cardinality(Acc)}
Ballot == 1..Proposers * Rounds
Top == Proposers * Rounds
Who(b) == (b - 1) % Proposers          \* whose ballot it is
Next(b) == IF b + Proposers <= Top THEN b + Proposers ELSE b
Newest(b) == b \in begun /\ \A c \in begun : Who(c) = Who(b) => c <= b
Requests == 1..MaxRequests
Counts == Lease - Drift                \* what the holder counts
Window == IF Cure("DRIFT") THEN Drift ELSE Drift + 1
In(c, v) == \E i \in 1..Len(v) : v[i] = c
Less(n) == IF n = 0 THEN 0 ELSE n - 1
More(m, n) == IF m > n THEN m ELSE n

ChosenAt(b) == {v \in prop[b] : \E Q \in Majority : \A a \in Q : [b |-> b, v |-> v] \in votes[a]}
Chosen == UNION {ChosenAt(b) : b \in Ballot}
Counting == \E Q \in Majority : \A a \in Q : hold[a] > 0
Serving == alive /\ Counting

Init ==
  /\ prom = [a \in Acc |-> 0] /\ at = [a \in Acc |-> Nil] /\ votes = [a \in Acc |-> {}]
  /\ begun = {} /\ led = {} /\ pr = [b \in Ballot |-> [a \in Acc |-> None]] /\ prop = [b \in Ballot |-> {}]
  /\ g = [a \in Acc |-> 0] /\ quiet = [a \in Acc |-> 0] /\ off = [a \in Acc |-> 0]
  /\ age = [r \in Requests |-> 0] /\ sent = 0 /\ given = [r \in Requests |-> {}] /\ way = {} /\ hold = [a \in Acc |-> 0]
  /\ alive = TRUE /\ open = TRUE
  /\ voting = [a \in Acc |-> TRUE] /\ lived = [a \in Acc |-> {}]
  /\ nr = 0 /\ nc = 0

\* ---- proposers
\* A process has one attempt at a time; the one before is given up, what it sent is not.
Begin(b) ==
  /\ \A c \in begun : Who(c) = Who(b) => c < b
  /\ begun' = begun \cup {b}
  /\ pr' = [c \in Ballot |-> IF Who(c) = Who(b) THEN [a \in Acc |-> None] ELSE pr[c]]
  /\ UNCHANGED << regV, led, prop, timeV, holdV, lifeV, copyV >>

\* What an attempt at b makes of v: a change, or v itself, to settle it.
Results(v) == {Append(v, c) : c \in {x \in Changes : ~In(x, v)}} \cup (IF v = << >> THEN {} ELSE {v})

Propose(b) ==
  /\ Newest(b) /\ b \notin led /\ prop[b] = {}
  /\ \E Q \in Majority : \A a \in Q : pr[b][a] # None
  /\ \E Q \in Majority :
       /\ \A a \in Q : pr[b][a] # None
       /\ LET best == CHOOSE x \in {pr[b][a] : a \in Q} : \A a \in Q : pr[b][a].b <= x.b IN
          \E v \in Results(best.v) : prop' = [prop EXCEPT ![b] = {v}]
  /\ pr' = [pr EXCEPT ![b] = [a \in Acc |-> None]]
  /\ UNCHANGED << regV, begun, led, timeV, holdV, lifeV, copyV >>

\* The value chosen at b is known to its proposer: the next ballot needs no promises.
ProposeLed(b) ==
  /\ Lead /\ Newest(b) /\ Next(b) > b
  /\ \E v \in ChosenAt(b) : \E w \in Results(v) \ {v} : prop' = [prop EXCEPT ![Next(b)] = {w}]
  /\ begun' = begun \cup {Next(b)} /\ led' = led \cup {Next(b)}
  /\ UNCHANGED << regV, pr, timeV, holdV, lifeV, copyV >>

\* A lead kept after somebody refused it, and used for another value.
ProposeAgain(b) ==
  /\ ~Cure("KEPT") /\ Newest(b) /\ b \in led /\ Cardinality(prop[b]) = 1
  /\ \E v \in ChosenAt(b - Proposers) : \E w \in Results(v) \ {v} : prop' = [prop EXCEPT ![b] = @ \cup {w}]
  /\ UNCHANGED << regV, begun, led, pr, timeV, holdV, lifeV, copyV >>

\* ---- acceptors
Promise(a, b) ==
  /\ voting[a] /\ b \in begun \ led
  /\ b > prom[a] \/ (b = prom[a] /\ Newest(b) /\ prop[b] = {} /\ pr[b][a] = None)
  /\ prom' = [prom EXCEPT ![a] = b]
  /\ pr' = IF Newest(b) /\ prop[b] = {} THEN [pr EXCEPT ![b][a] = at[a]] ELSE pr
  /\ UNCHANGED << at, votes, begun, led, prop, timeV, holdV, lifeV, copyV >>

\* Its death is proven, or taken for it: nobody listens at its address.
Over == IF Cure("H37") THEN ~alive ELSE ~open

Guarded(a, v) == In("drop", v) /\ ~Over /\ (g[a] > 0 \/ (~In("drop", at[a].v) /\ quiet[a] > 0))

Accept(a, b, v) ==
  /\ voting[a] /\ v \in prop[b] /\ b >= prom[a] /\ at[a].b # b /\ ~Guarded(a, v)
  /\ at' = [at EXCEPT ![a] = [b |-> b, v |-> v]]
  /\ prom' = [prom EXCEPT ![a] = IF Lead /\ Cure("H31") THEN Next(b) ELSE b]
  /\ votes' = [votes EXCEPT ![a] = @ \cup {[b |-> b, v |-> v]}]
  /\ UNCHANGED << propV, timeV, holdV, lifeV, copyV >>

\* A chosen value that comes by word of mouth.
Learn(a, b) ==
  /\ Tells /\ b > at[a].b
  /\ \E v \in ChosenAt(b) :
       /\ at' = [at EXCEPT ![a] = [b |-> b, v |-> v]]
       /\ prom' = [prom EXCEPT ![a] = More(@, b)]
  /\ UNCHANGED << votes, propV, timeV, holdV, lifeV, copyV >>

\* A restart keeps the vote and forgets what was granted.
Restart(a) ==
  /\ nr < MaxRestarts
  /\ nr' = nr + 1
  /\ g' = [g EXCEPT ![a] = 0]
  /\ quiet' = [quiet EXCEPT ![a] = IF Cure("H22") THEN Lease ELSE 0]
  /\ UNCHANGED << regV, propV, off, holdV, lifeV, voting, lived, nc >>

\* The file comes back as it was when it was made, the oldest there is. What
\* proposers were promised is lost.
Older(a) ==
  /\ nc < MaxCopies /\ prom[a] > 0
  /\ nc' = nc + 1
  /\ prom' = [prom EXCEPT ![a] = 0] /\ at' = [at EXCEPT ![a] = Nil]
  /\ voting' = [voting EXCEPT ![a] = FALSE]
  /\ lived' = [lived EXCEPT ![a] = begun]
  /\ g' = [g EXCEPT ![a] = 0]
  /\ quiet' = [quiet EXCEPT ![a] = IF Cure("H22") THEN Lease ELSE 0]
  /\ UNCHANGED << votes, propV, off, holdV, lifeV, nr >>

\* It votes again when the others have decided without it at a ballot that began
\* after: whatever counts on a promise or a vote that was lost is outbid by then
\* at a majority.
CatchUp(a) ==
  /\ ~voting[a] /\ Cure("FRESH")
  /\ \E b \in begun \ (lived[a] \cup led) : \E v \in prop[b] : \E Q \in Majority :
       /\ a \notin Q /\ \A c \in Q : [b |-> b, v |-> v] \in votes[c]
       /\ at' = [at EXCEPT ![a] = [b |-> b, v |-> v]] /\ prom' = [prom EXCEPT ![a] = b]
  /\ voting' = [voting EXCEPT ![a] = TRUE] /\ lived' = [lived EXCEPT ![a] = {}]
  /\ UNCHANGED << votes, propV, timeV, holdV, lifeV, nr, nc >>

\* What does not do: to wait until attempts that count on what was lost have been
\* given up, and then to take in what the others have accepted and promised. What
\* is taken in so counts as a vote, and may be against a promise that was lost.
CatchUpByAsking(a) ==
  /\ ~voting[a] /\ ~Cure("FRESH")
  /\ Cure("H32") => \A b \in lived[a] : pr[b][a] = None
  /\ \E S \in SUBSET (Acc \ {a}) :
       /\ Cardinality(S) = IF Cure("H32") THEN Cardinality(Acc) - 1 ELSE Cardinality(Acc) \div 2
       /\ LET best == CHOOSE x \in {at[c] : c \in S \cup {a}} : \A c \in S \cup {a} : at[c].b <= x.b
              high == CHOOSE p \in {prom[c] : c \in S \cup {a}} : \A c \in S \cup {a} : prom[c] <= p
          IN /\ at[a].b < best.b => ~Guarded(a, best.v)
             /\ at' = [at EXCEPT ![a] = best] /\ prom' = [prom EXCEPT ![a] = More(high, best.b)]
             /\ votes' = [votes EXCEPT ![a] = {x \in @ : ~Cure("H32") \/ x.v \in ChosenAt(x.b)} \cup ({best} \ {Nil})]
  /\ voting' = [voting EXCEPT ![a] = TRUE] /\ lived' = [lived EXCEPT ![a] = {}]
  /\ UNCHANGED << propV, timeV, holdV, lifeV, nr, nc >>

\* An attempt ends in time: its proposer gives up.
GiveUp(b) ==
  /\ ~Cure("FRESH") /\ \E a \in Acc : b \in lived[a] /\ pr[b][a] # None
  /\ pr' = [pr EXCEPT ![b] = [a \in Acc |-> None]]
  /\ begun' = begun \cup {Next(b)}
  /\ UNCHANGED << regV, led, prop, timeV, holdV, lifeV, copyV >>

\* ---- leases
Request ==
  /\ alive /\ sent < MaxRequests
  /\ sent' = sent + 1
  /\ age' = [age EXCEPT ![sent + 1] = Counts]
  /\ UNCHANGED << regV, propV, timeV, given, way, hold, lifeV, copyV >>

Grant(a, r) ==
  /\ r <= sent /\ a \notin given[r] /\ ~In("drop", at[a].v)
  /\ given' = [given EXCEPT ![r] = @ \cup {a}]
  /\ g' = [g EXCEPT ![a] = Lease]
  /\ way' = IF alive /\ (age[r] > 0 \/ ~Cure("LATE")) THEN way \cup {<< a, r >>} ELSE way
  /\ UNCHANGED << regV, propV, quiet, off, age, sent, hold, lifeV, copyV >>

\* The lease is counted from when its request was sent.
Granted(a, r) ==
  /\ << a, r >> \in way
  /\ way' = way \ {<< a, r >>}
  /\ hold' = [hold EXCEPT ![a] = More(@, IF Cure("LATE") THEN age[r] ELSE Counts)]
  /\ UNCHANGED << regV, propV, timeV, age, sent, given, lifeV, copyV >>

Kill ==
  /\ MayDie /\ alive
  /\ alive' = FALSE /\ open' = FALSE
  /\ hold' = [a \in Acc |-> 0] /\ way' = {}
  /\ UNCHANGED << regV, propV, timeV, age, sent, given, copyV >>

\* A life that ends in order stops listening when it serves no more.
Close ==
  /\ MayDie /\ alive /\ open
  /\ open' = FALSE
  /\ IF Cure("H37") THEN alive' = FALSE /\ hold' = [a \in Acc |-> 0] /\ way' = {} ELSE UNCHANGED << alive, hold, way >>
  /\ UNCHANGED << regV, propV, timeV, age, sent, given, copyV >>

\* ---- time passes while a timer runs
Running == \E a \in Acc : g[a] > 0 \/ quiet[a] > 0 \/ hold[a] > 0 \/ \E r \in Requests : age[r] > 0

TickHolder ==
  /\ Running /\ \A a \in Acc : off[a] > 0
  /\ off' = [a \in Acc |-> off[a] - 1]
  /\ age' = [r \in Requests |-> Less(age[r])]
  /\ hold' = [a \in Acc |-> Less(hold[a])]
  /\ way' = IF Cure("LATE") THEN {x \in way : age[x[2]] > 1} ELSE way
  /\ UNCHANGED << regV, propV, g, quiet, sent, given, lifeV, copyV >>

Tick(a) ==
  /\ Running /\ off[a] < Window
  /\ off' = [off EXCEPT ![a] = @ + 1]
  /\ g' = [g EXCEPT ![a] = Less(@)] /\ quiet' = [quiet EXCEPT ![a] = Less(@)]
  /\ UNCHANGED << regV, propV, holdV, lifeV, copyV >>

\* ---- the end: the highest ballot was carried through, so nobody is in anybody's way
Decided == ChosenAt(Top) # {}
End == Decided /\ UNCHANGED vars

Step ==
  \/ \E b \in Ballot : Begin(b) \/ Propose(b) \/ ProposeLed(b) \/ ProposeAgain(b) \/ GiveUp(b)
  \/ \E a \in Acc :
       \/ \E b \in Ballot : Promise(a, b) \/ Learn(a, b) \/ \E v \in prop[b] : Accept(a, b, v)
       \/ Restart(a) \/ Older(a) \/ CatchUp(a) \/ CatchUpByAsking(a) \/ Tick(a)
       \/ \E r \in Requests : Grant(a, r) \/ Granted(a, r)
  \/ Request \/ Kill \/ Close \/ TickHolder
  \/ End

Spec == Init /\ [][Step]_vars
Alike == Permutations(Acc)

\* ---- invariants
\* G2: one sequence number, one chosen value; so one view per epoch.
OneViewPerEpoch == \A u \in Chosen : \A w \in Chosen : Len(u) = Len(w) => u = w
\* G3: what was chosen contains every change chosen before.
Follows == \A u \in Chosen : \A w \in Chosen : Len(u) <= Len(w) => SubSeq(w, 1, Len(u)) = u
\* L1: while the holder counts on its lease, no view without it is chosen.
NoServeOutsideLease == Serving => \A v \in Chosen : ~In("drop", v)
=============================================================================

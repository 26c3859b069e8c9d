// Package register decides the one value of the view register: an acceptor
// and a proposer as pure state machines. Messages go in, messages come out;
// nothing here opens a file, waits, or knows the time.
//
// It is a register changed in place by compare-and-swap, not a log: a
// proposer reads the newest accepted value from a majority, applies its
// change to that, and has the result accepted by a majority, under one
// ballot. Sources: RMWPaxos (Skrzypczak, Schintke, Schütt, 2020) and CASPaxos
// (Rystsov, 2018). Ballots and the two phases are Paxos'.
//
// Invariants, quoted by number in the tests:
//
//	G1  One ballot, one value.
//	G2  One sequence number, one chosen value; so one view per epoch.
//	G3  A chosen value of a higher ballot contains every change chosen before.
//	G4  An acceptor's promise and accepted ballot never go back.
//
// What the caller owes: an acceptor's state is durable before its answer
// leaves (Step says whether it changed), a ballot is used once (MakeBallot's
// life is drawn anew by every process), a change function has no effect but
// its result and may run several times, and only a chosen value is passed to
// Learn.
//
// A change that met a conflict after its value was sent may still take
// effect, and then runs again on top of itself: changes must be idempotent,
// or harmless when done twice (skipping an incarnation is).
package register

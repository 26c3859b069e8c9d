package plants

import "healkv/dataplane/plant"

func init() {
	table = append(table,
		one(plant.MarksLeft, "watermarks are taken although the member's next entry has to wait", unit("dataplane", "TestMarksBesideAWaitingEntry")),
		one(plant.MarksAfterMail, "the turn of a letter takes all watermarks (H7)", unit("dataplane", "TestMarksInTheTurnOfALetter")),
		one(plant.OfferUnkept, "a write that the members may have already goes into the own log", unit("dataplane", "TestAloneAndBesideOthers")),
	)
}

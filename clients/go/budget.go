package nagaya

import "sync"

const (
	budgetTokens = 1000 // half of it: what may be under way at a server that dies
	budgetEarned = 0.1
)

// budget ends the repeating of calls while most of them fail: a server that comes back would else be
// met by each call several times. The figures and the rule are those of gRPC's retry throttling.
type budget struct {
	mutex  sync.Mutex
	tokens float64
}

func newBudget() *budget { return &budget{tokens: budgetTokens} }

// earn is called for a call that has succeeded.
func (b *budget) earn() {
	b.mutex.Lock()
	defer b.mutex.Unlock()
	b.tokens = min(b.tokens+budgetEarned, budgetTokens)
}

// spend is called for an attempt that has failed; it tells whether there may be another one.
func (b *budget) spend() bool {
	b.mutex.Lock()
	defer b.mutex.Unlock()
	b.tokens = max(b.tokens-1, 0)
	return b.tokens > budgetTokens/2
}

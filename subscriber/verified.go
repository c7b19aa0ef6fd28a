package subscriber

import (
	"strings"

	lru "github.com/hashicorp/golang-lru/v2"
)

// verifiedCache remembers tokens whose signature was checked, by their whole
// text: two texts that differ in a byte are two tokens here, even if they say
// the same. What it says is no permission: whether the token has expired or
// was revoked is asked at each use.
type verifiedCache struct {
	shards []*lru.Cache[string, *Token] // each with a lock of its own; none: nothing is remembered
}

const verifiedShards = 32

// maxVerifiedSize is the length in bytes above which a token is not
// remembered, so that the number of entries bounds the memory.
const maxVerifiedSize = 4 << 10

// newVerifiedCache tells remove of watched tokens that it has forgotten.
func newVerifiedCache(size int, remove func(*watched)) *verifiedCache {
	c := new(verifiedCache)
	if size <= 0 {
		return c
	}
	n := verifiedShards
	if size < 16*n { // small shards would evict long before the cache is full
		n = 1
	}
	for range n {
		shard, err := lru.NewWithEvict(size/n, func(_ string, t *Token) {
			if t.watched != nil {
				remove(t.watched)
			}
		})
		if err != nil {
			panic(err) // the size is not positive, and it is
		}
		c.shards = append(c.shards, shard)
	}
	return c
}

// shard chooses by the end of the signature, which is as good as random.
// Somebody who makes up tokens can choose too, but only adds to one of the
// locks.
func (c *verifiedCache) shard(raw string) *lru.Cache[string, *Token] {
	if len(c.shards) == 0 || len(raw) < 8 || len(raw) > maxVerifiedSize {
		return nil
	}
	tail := raw[len(raw)-8:]
	h := uint32(0)
	for i := range len(tail) {
		h = h*31 + uint32(tail[i])
	}
	return c.shards[h%uint32(len(c.shards))]
}

func (c *verifiedCache) get(raw string) (*Token, bool) {
	if shard := c.shard(raw); shard != nil {
		return shard.Get(raw)
	}
	return nil, false
}

// add remembers a token, and returns the one that all are to use: another
// request may have been quicker.
func (c *verifiedCache) add(raw string, t *Token) *Token {
	shard := c.shard(raw)
	if shard == nil {
		return t
	}
	// What comes from a request is part of a larger string.
	if first, ok, _ := shard.PeekOrAdd(strings.Clone(raw), t); ok {
		return first
	}
	return t
}

func (c *verifiedCache) remove(raw string) {
	if shard := c.shard(raw); shard != nil {
		shard.Remove(raw)
	}
}

func (c *verifiedCache) len() int {
	n := 0
	for _, shard := range c.shards {
		n += shard.Len()
	}
	return n
}

// Package prommetrics tells Prometheus what a subscriber does: [New] is the
// Metrics of a [subscriber.Config], and [Watch] adds what is asked at each
// scrape. No label carries an identifier, a token, a hub or a feed; all their
// values come from short lists.
//
// Worth an alert: revocast_subscriber_state{state="expired"} and {state="stale"},
// a revocast_subscriber_staleness_seconds that grows,
// revocast_subscriber_unenforceable and revocast_subscriber_hub_behind.
package prommetrics

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/subscriber"
)

// Metrics counts for Prometheus what a subscriber tells it. One is for one
// subscriber.
type Metrics struct {
	state        *prometheus.GaugeVec
	verdicts     [3]prometheus.Counter // by Outcome: a check looks nothing up
	refused      *prometheus.CounterVec
	decisions    *prometheus.CounterVec
	records      prometheus.Counter
	operations   prometheus.Counter
	resyncs      *prometheus.CounterVec
	invalid      *prometheus.CounterVec
	reports      *prometheus.CounterVec
	disconnected prometheus.Counter
	exchanges    *prometheus.CounterVec
}

var _ subscriber.Metrics = (*Metrics)(nil)

var states = []subscriber.State{subscriber.Starting, subscriber.Syncing, subscriber.Fresh, subscriber.Stale, subscriber.Expired}

// New makes the metrics and registers them. Like MustRegister, it panics if
// some with their names are registered already: to have two subscribers in a
// process, wrap the registerer with a label (prometheus.WrapRegistererWith).
func New(reg prometheus.Registerer) *Metrics {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: prefix + name, Help: help})
	}
	counters := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: prefix + name, Help: help}, labels)
	}
	verdicts := counters("verdicts_total", "Checks, by what they came to.", "outcome")
	m := &Metrics{
		state: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: prefix + "state", Help: "1 for the state that the subscriber is in, 0 for the others."}, []string{"state"}),
		refused:      counters("refused_total", "Requests that Authenticate or Protect refused, by code.", "code"),
		decisions:    counters("policy_decisions_total", "Tokens about which a policy decided because the set was not fresh.", "policy", "decision"),
		records:      counter("records_applied_total", "Records applied."),
		operations:   counter("operations_applied_total", "Operations applied, of all records."),
		resyncs:      counters("resyncs_total", "Snapshots that took the place of what was held, by why.", "reason"),
		invalid:      counters("invalid_total", "What arrived and had to be refused, by what was wrong.", "reason"),
		reports:      counters("reports_total", "Reports to the hub, by whether they were answered with a valid proof.", "result"),
		disconnected: counter("disconnects_total", "Sessions with a hub that ended."),
		exchanges:    counters("exchanges_total", "Opaque tokens about which a gateway asked the issuer, by what came of it.", "outcome"),
	}
	for o := range m.verdicts {
		m.verdicts[o] = verdicts.WithLabelValues(subscriber.Outcome(o).String())
	}
	// What is alerted on is there from the beginning.
	m.State(subscriber.Starting)
	m.reports.WithLabelValues(answered)
	m.reports.WithLabelValues(failed)
	reg.MustRegister(m.state, verdicts, m.refused, m.decisions, m.records, m.operations, m.resyncs, m.invalid, m.reports, m.disconnected, m.exchanges)
	return m
}

const prefix = "revocast_subscriber_"

// The values of labels that the subscriber does not name.
const (
	allowed  = "allowed"
	refused  = "refused"
	answered = "answered"
	failed   = "failed"
)

func either(yes bool, ifYes, ifNo string) string {
	if yes {
		return ifYes
	}
	return ifNo
}

// State implements subscriber.Metrics, as the others do.
func (m *Metrics) State(s subscriber.State) {
	for _, each := range states {
		v := 0.0
		if each == s {
			v = 1
		}
		m.state.WithLabelValues(string(each)).Set(v)
	}
}

func (m *Metrics) Verdict(o subscriber.Outcome) {
	if int(o) < len(m.verdicts) {
		m.verdicts[o].Inc()
	}
}

func (m *Metrics) Refused(code subscriber.Code) { m.refused.WithLabelValues(string(code)).Inc() }

func (m *Metrics) Decision(policy string, ok bool) {
	m.decisions.WithLabelValues(policy, either(ok, allowed, refused)).Inc()
}

func (m *Metrics) Applied(ops int) {
	m.records.Inc()
	m.operations.Add(float64(ops))
}

func (m *Metrics) Resync(reason string)  { m.resyncs.WithLabelValues(reason).Inc() }
func (m *Metrics) Invalid(reason string) { m.invalid.WithLabelValues(reason).Inc() }

func (m *Metrics) Reported(ok bool) { m.reports.WithLabelValues(either(ok, answered, failed)).Inc() }

func (m *Metrics) Disconnected() { m.disconnected.Inc() }

func (m *Metrics) Exchange(outcome string) { m.exchanges.WithLabelValues(outcome).Inc() }

// Watch registers what is read from a subscriber's Status at each scrape. It
// panics as New does. After the subscriber has been closed it goes on telling
// how stale the set is: that is what checks see.
func Watch(reg prometheus.Registerer, s *subscriber.Subscriber) {
	reg.MustRegister(status{s})
}

type status struct{ s *subscriber.Subscriber }

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc(prefix+name, help, labels, nil)
}

var (
	ready         = desc("ready", "1 once the first head has been reached.")
	staleness     = desc("staleness_seconds", "Age of the proof that the set is complete.")
	position      = desc("position_seq", "Sequence number of the last record applied.")
	head          = desc("head_seq", "The highest sequence number that a hub has told in this epoch.")
	live          = desc("live", "Revocations held, by kind.", "kind")
	liveBytes     = desc("live_bytes", "Estimate of the memory of the set.")
	verified      = desc("verified_tokens", "Tokens of which it is remembered that their signature was verified.")
	guards        = desc("guards", "Guards that are open.")
	unenforceable = desc("unenforceable", "Kinds of operations that a hub has sent and that this release can't enforce.")
	hubBehind     = desc("hub_behind", "1 if the hub knows less than this subscriber, as after a restore from an old backup.")
)

// Describe implements prometheus.Collector.
func (c status) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{ready, staleness, position, head, live, liveBytes, verified, guards, unenforceable, hubBehind} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (c status) Collect(ch chan<- prometheus.Metric) {
	st := c.s.Status()
	tell := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	flag := func(d *prometheus.Desc, on bool) {
		if on {
			tell(d, 1)
		} else {
			tell(d, 0)
		}
	}
	flag(ready, st.Ready)
	tell(staleness, st.Staleness.Seconds())
	tell(position, float64(seqOf(st.Position)))
	tell(head, float64(st.Head))
	for _, kind := range events.Kinds() {
		tell(live, float64(st.Live[kind.String()]), kind.String())
	}
	tell(liveBytes, float64(st.LiveBytes))
	tell(verified, float64(st.VerifiedTokens))
	tell(guards, float64(st.Guards))
	tell(unenforceable, float64(len(st.Unenforceable)))
	flag(hubBehind, st.HubBehind)
}

// seqOf is 0 before there is a position.
func seqOf(position string) uint64 {
	p, err := events.ParsePosition(position)
	if err != nil {
		return 0
	}
	return p.Seq
}

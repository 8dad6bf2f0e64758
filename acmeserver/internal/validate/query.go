package validate

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/miekg/dns"
)

// lookup gives the records of a type at name, following CNAMEs also where the server doesn't. No
// records and no problem means that the name exists without such a record.
func (r resolver) lookup(
	ctx context.Context, name string, qtype uint16, t *trace,
) ([]dns.RR, *problem) {
	owner := dns.CanonicalName(name)
	for range maxAliases {
		servers, p := r.nameServers(owner)
		if p != nil {
			return nil, p
		}
		reply, server, p := ask(ctx, servers, owner, qtype, t)
		if p != nil {
			return nil, p
		}
		records, end := follow(reply.Answer, owner, qtype)
		switch {
		case len(records) > 0:
			t.add("resolved %s: %s", via(name, end, qtype, server), values(records))
			return records, nil
		case end == "":
			t.add("asking for %s of %s: CNAME records in a circle", dns.TypeToString[qtype], name)
			return nil, failed(dnsProblem, "looking up %s leads through CNAME records in a circle "+
				"(from %s)", name, server)
		case reply.Rcode == dns.RcodeNameError:
			t.add("resolved %s: no such name (NXDOMAIN)", via(name, end, qtype, server))
			p := failed(dnsProblem, "%s does not exist in DNS (NXDOMAIN from %s); create %s",
				strings.TrimSuffix(end, "."), server, wanted(qtype))
			p.absent = true
			return nil, p
		case end == owner:
			t.add("resolved %s: no such record", via(name, end, qtype, server))
			return nil, nil
		}
		owner = end
	}
	return nil, failed(dnsProblem, "looking up %s led through more than %d CNAME records, "+
		"perhaps in a circle; shorten the chain", name, maxAliases)
}

// via names a question for the trace: "www.test (A, alias of a.test, via 10.0.0.53:53)".
func via(name, end string, qtype uint16, server string) string {
	alias := ""
	if end != dns.CanonicalName(name) {
		alias = "alias of " + strings.TrimSuffix(end, ".") + ", "
	}
	return fmt.Sprintf("%s (%s, %svia %s)", name, dns.TypeToString[qtype], alias, server)
}

func wanted(qtype uint16) string {
	switch qtype {
	case dns.TypeA, dns.TypeAAAA:
		return "an A or AAAA record"
	}
	return "the " + dns.TypeToString[qtype] + " record"
}

func values(records []dns.RR) string {
	var texts []string
	for _, rr := range records[:min(len(records), maxLine)] {
		texts = append(texts, strings.TrimPrefix(rr.String(), rr.Header().String()))
	}
	return strings.Join(texts, ", ")
}

// follow walks the CNAMEs in an answer from owner to their end and gives the records of the type
// there. An end of "" says that there is none: they go in a circle. Records of other names are not
// ours to believe.
func follow(answer []dns.RR, owner string, qtype uint16) (records []dns.RR, end string) {
	end = owner
	for range len(answer) + 1 {
		next, ok := aliasOf(answer, end)
		if !ok {
			return recordsAt(answer, end, qtype), end
		}
		end = next
	}
	return nil, ""
}

func aliasOf(answer []dns.RR, owner string) (target string, ok bool) {
	for _, rr := range answer {
		alias, ok := rr.(*dns.CNAME)
		if ok && dns.CanonicalName(alias.Hdr.Name) == owner {
			return dns.CanonicalName(alias.Target), true
		}
	}
	return "", false
}

func recordsAt(answer []dns.RR, owner string, qtype uint16) (records []dns.RR) {
	for _, rr := range answer {
		h := rr.Header()
		if h.Rrtype == qtype && h.Class == dns.ClassINET && dns.CanonicalName(h.Name) == owner {
			records = append(records, rr)
		}
	}
	return records
}

// ask goes through the servers until one answers that the name has or has not what we look for.
func ask(
	ctx context.Context, servers []string, owner string, qtype uint16, t *trace,
) (*dns.Msg, string, *problem) {
	name, last := strings.TrimSuffix(owner, "."), "no time was left to ask"
	for range queryRounds {
		for _, server := range servers {
			if ctx.Err() != nil {
				break
			}
			reply, err := exchange(ctx, server, owner, qtype)
			switch {
			case err != nil:
				last = reason(err)
			case reply.Rcode == dns.RcodeSuccess || reply.Rcode == dns.RcodeNameError:
				return reply, server, nil
			default:
				last = dns.RcodeToString[reply.Rcode]
			}
			last = server + ": " + last
			t.add("asking for %s of %s failed at %s", dns.TypeToString[qtype], name, last)
		}
	}
	return nil, "", failed(dnsProblem, "looking up the %s record of %s failed (%s); "+
		"check the zone and the DNS servers that this CA asks", dns.TypeToString[qtype], name, last)
}

var errOtherQuestion = errors.New("answered another question")

// exchange asks one server, over TCP where UDP is too small for the answer.
func exchange(ctx context.Context, server, owner string, qtype uint16) (*dns.Msg, error) {
	query := new(dns.Msg).SetQuestion(owner, qtype)
	query.SetEdns0(udpSize, false)
	reply, err := exchangeOver(ctx, "udp", server, query)
	if reply != nil && reply.Truncated { // even if what came was cut in the middle of a record
		reply, err = exchangeOver(ctx, "tcp", server, query)
	}
	switch {
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case err != nil:
		return nil, err
	case !reply.Response || len(reply.Question) != 1 || reply.Question[0].Qtype != qtype ||
		dns.CanonicalName(reply.Question[0].Name) != owner:
		return nil, errOtherQuestion
	}
	return reply, nil
}

// exchangeOver ends at once when ctx does, which the client by itself does only at its deadline.
func exchangeOver(
	ctx context.Context, network, server string, query *dns.Msg,
) (*dns.Msg, error) {
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	client := dns.Client{Net: network, Timeout: queryTimeout}
	conn, err := client.DialContext(ctx, server)
	if err != nil {
		return nil, err
	}
	defer func() { _ = conn.Close() }()
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	reply, _, err := client.ExchangeWithConnContext(ctx, query, conn)
	if err != nil && ctx.Err() != nil {
		err = ctx.Err()
	}
	return reply, err
}

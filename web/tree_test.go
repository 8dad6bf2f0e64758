package web_test

import (
	"strings"

	"golang.org/x/net/html"
)

// find gives the elements below n for which is holds, in the order of the page.
func find(n *html.Node, is func(*html.Node) bool) []*html.Node {
	var found []*html.Node
	for d := range n.Descendants() {
		if d.Type == html.ElementNode && is(d) {
			found = append(found, d)
		}
	}
	return found
}

func attribute(n *html.Node, key string) string {
	for _, a := range n.Attr {
		if a.Key == key {
			return a.Val
		}
	}
	return ""
}

// content is the text in n to the letter, as a browser's textContent.
func content(n *html.Node) string {
	var text strings.Builder
	for d := range n.Descendants() {
		if d.Type == html.TextNode {
			text.WriteString(d.Data)
		}
	}
	return text.String()
}

// visible is the text in n with white space as a reader sees it.
func visible(n *html.Node) string { return strings.Join(strings.Fields(content(n)), " ") }

// links is where the elements below n lead, or what they load.
func links(n *html.Node) []string {
	var all []string
	for _, key := range []string{"href", "src"} {
		for _, d := range find(n, func(d *html.Node) bool { return attribute(d, key) != "" }) {
			all = append(all, attribute(d, key))
		}
	}
	return all
}

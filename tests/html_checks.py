"""What every HTML file of ours must keep, whatever stands in it."""

import re
from html.parser import HTMLParser

ACTIVE = {
    'script',
    'iframe',
    'object',
    'embed',
    'form',
    'input',
    'button',
    'base',
    'link',
    'frame',
    'frameset',
    'applet',
    'audio',
    'video',
    'source',
    'math',
    'noscript',
    'template',
    'foreignobject',
    'animate',
    'set',
    'image',
    'feimage',
}
ADDRESSES = {
    'src',
    'href',
    'action',
    'formaction',
    'data',
    'poster',
    'background',
    'srcset',
    'ping',
    'cite',
    'xlink:href',
    'longdesc',
    'manifest',
}
VOID = {'meta', 'br', 'hr', 'img', 'link', 'input', 'base', 'source', 'col', 'wbr', 'area', 'embed'}


class Outline(HTMLParser):
    """A file's elements, headings, images and text."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.tags = []
        self.headings = []
        self.images = []
        self.words = []
        self.ids = []
        self.open = []
        self.crooked = []
        self.styles = ''
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)
        if re.fullmatch('h[1-6]', tag):
            self.headings.append(int(tag[1]))
        if tag == 'img':
            self.images.append(dict(attrs))
        if 'id' in dict(attrs):
            self.ids.append(dict(attrs)['id'])

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            self.crooked.append(tag)

    def handle_data(self, data):
        if self.open and self.open[-1] == 'style':
            self.styles += data
        else:
            self.words.append(data)

    @property
    def text(self):
        return re.sub(r'\s+', ' ', ' '.join(self.words).replace('\N{NO-BREAK SPACE}', ' '))

    def attributes(self, name):
        return [attrs[name] for _, attrs in self.tags if name in attrs]


def check(text, links=lambda href: href.startswith('#')):
    """Assert that a file is whole, asks for nothing, runs nothing and can be read by everyone."""
    page = Outline(text)
    assert not page.crooked and not page.open, f'elements do not nest: {page.crooked or page.open}'
    assert not {tag for tag, _ in page.tags} & ACTIVE
    for tag, attrs in page.tags:
        assert not [name for name in attrs if name.startswith('on')], (tag, attrs)
        assert tag != 'style' or not attrs
        for name in ADDRESSES & set(attrs):
            value = attrs[name] or ''
            allowed = {
                'img': lambda v: v.startswith('data:image/'),
                'use': lambda v: v.startswith('#'),
                'a': links,
            }
            assert tag in allowed and allowed[tag](value), (tag, name, value)
        if tag == 'meta':
            assert attrs.get('http-equiv', 'Content-Security-Policy') == 'Content-Security-Policy'
    styles = page.styles + ' '.join(page.attributes('style'))
    assert (
        'url(' not in re.sub(r'url\(#[\w-]+\)', '', styles)
        and '@import' not in styles
        and 'expression' not in styles
    )
    policy = [
        attrs['content'] for tag, attrs in page.tags if tag == 'meta' and attrs.get('http-equiv')
    ]
    assert len(policy) == 1 and policy[0].startswith(
        "default-src 'none'; style-src 'unsafe-inline'; img-src data:; font-src data:"
    )
    check_reading(page)
    return page


def check_reading(page):
    """Language, headings in order, texts for pictures, captions and scopes for tables, unique
    identifiers."""
    assert dict(page.tags[0][1]).get('lang') == 'en'
    assert page.headings[0] == 1 and page.headings.count(1) == 1
    assert all(b <= a + 1 for a, b in zip(page.headings, page.headings[1:], strict=False)), (
        page.headings
    )
    assert all(image.get('alt') and 'No description' not in image['alt'] for image in page.images)
    drawings = [attrs for tag, attrs in page.tags if tag == 'svg']
    assert all(d['role'] == 'img' and len(d['aria-label']) > 5 for d in drawings)
    assert len(page.ids) == len(set(page.ids)), sorted(
        i for i in page.ids if page.ids.count(i) > 1
    )[:3]
    ours = [tag for tag, attrs in page.tags if tag == 'caption']
    assert ours or not page.attributes('scope')

//! Whether all text can be read: WCAG 2 level AA, in light and in dark.

use crate::chromium::Browser;

/// The lowest contrast of visible text with what is behind it, how many such texts there are, and the worst one.
const CONTRAST: &str = "(() => {
    const parse = (color) => {
        const numbers = color.match(/[\\d.]+(e-?\\d+)?/g).map(Number);
        const [r, g, b] = color.startsWith('color(') ? numbers : numbers.map((channel) => channel / 255);
        const alpha = numbers.length < 4 ? 1 : numbers[3];
        return { rgb: [r, g, b], alpha };
    };
    const luminance = ([r, g, b]) => {
        const linear = (c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
        return 0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b);
    };
    const behind = (element) => {
        for (let at = element; at !== null; at = at.parentElement) {
            const { rgb, alpha } = parse(getComputedStyle(at).backgroundColor);
            if (alpha > 0) return rgb;
        }
        return [1, 1, 1];
    };
    const opacity = (element) => (element === null ? 1 : Number(getComputedStyle(element).opacity) * opacity(element.parentElement));
    const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    let [count, worst, where] = [0, 21, ''];
    while (walker.nextNode()) {
        const element = walker.currentNode.parentElement;
        if (walker.currentNode.data.trim() === '' || !element.checkVisibility() || element.closest('script, style, noscript')) continue;
        if (opacity(element) < 1) return [count, 0, `${element.className} is transparent`];
        const [one, other] = [parse(getComputedStyle(element).color).rgb, behind(element)].map(luminance);
        const ratio = (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05);
        count += 1;
        if (ratio < worst) [worst, where] = [ratio, `${element.tagName}.${element.className} in ${element.parentElement.className}: ${walker.currentNode.data}`];
    }
    return [count, worst, where];
})()";

pub(crate) fn reads_well(browser: &mut Browser, url: &str) {
    for scheme in ["light", "dark"] {
        browser.look(1280, 900, scheme);
        // A translation, a contrast, raw scores, and scripts; special tokens with the others, so that they are shaded.
        for fragment in [
            "select=0.4",
            "select=0.1&special=1",
            "select=0.0&colour=entropy",
            "select=1.0",
            "select=2.2",
            "select=3.1&special=1",
        ] {
            browser.open(&format!("{url}#{fragment}"));
            let found = browser.evaluate(CONTRAST);
            assert!(found[0].as_u64().unwrap() > 60, "{found}");
            assert!(found[1].as_f64().unwrap() >= 4.5, "{scheme}, {fragment}: {found}");
        }
        browser.open(url);
        let ground = browser.evaluate("getComputedStyle(document.body).backgroundColor");
        // The button overrides the system's theme.
        let other = if scheme == "light" { 2 } else { 1 };
        (0..other).for_each(|_| browser.click("#theme"));
        assert_ne!(browser.evaluate("getComputedStyle(document.body).backgroundColor"), ground, "{scheme}");
        (0..3 - other).for_each(|_| browser.click("#theme"));
        browser.screenshot(&format!("{scheme}.png"));
        browser.open(&format!("{url}#select=3.1"));
        browser.screenshot(&format!("scripts-{scheme}.png"));
    }
    browser.look(1280, 900, "light");
}

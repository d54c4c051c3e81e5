"""The view "Network" in a real browser: blocks and text are the same recipe."""

from tests.serve.conftest import Tab

BLOCKS = "#net-blocks > .block"


def titles(tab: Tab) -> list[str]:
    return [str(one) for one in tab.page.locator(f"{BLOCKS} .title").all_inner_texts()]


def test_a_learner_writes_a_network_with_mouse_and_keyboard(tab: Tab) -> None:
    tab.open("#network")
    tab.count(BLOCKS, 7)
    assert "121,930 parameters" in tab.text("#net-says")
    # Add a dropout below the flatten layer.
    tab.page.locator(BLOCKS).nth(4).click()
    tab.page.select_option("#net-kind", "dropout")
    tab.page.click("#net-add")
    tab.count(BLOCKS, 8)
    assert titles(tab)[5] == "dropout"
    assert "{ dropout = 0.5 }" in tab.page.input_value("#net-toml")
    # Move it below the dense layer with the keyboard, which keeps the focus on it.
    tab.page.keyboard.press("Alt+ArrowDown")
    tab.page.locator(".block:focus[aria-label='Layer 7, dropout']").wait_for()
    assert titles(tab)[5:] == ["dense", "dropout", "dense"]
    # Change a setting in its block.
    tab.page.locator(f"{BLOCKS}:nth-child(1) input[data-name=filters]").fill("16")
    tab.page.keyboard.press("Tab")
    tab.shows(f"{BLOCKS}:nth-child(1)", "26×26×16 · 160 parameters")
    assert "conv = 16" in tab.page.input_value("#net-toml")
    # A mistake is told at its layer.
    tab.page.locator(f"{BLOCKS}:nth-child(3) input[data-name=kernel]").fill("20")
    tab.page.keyboard.press("Tab")
    tab.shows(f"{BLOCKS}:nth-child(3)", "use a smaller kernel")
    assert tab.page.is_disabled("#net-train")
    tab.page.click("#net-undo")
    tab.page.locator("#net-train:enabled").wait_for()
    # Remove with the keyboard.
    tab.page.locator(BLOCKS).nth(6).focus()
    tab.page.keyboard.press("Delete")
    tab.count(BLOCKS, 7)
    # Drag the second pool onto the first layer.
    tab.page.drag_and_drop(f"{BLOCKS}:nth-child(4) .number", f"{BLOCKS}:nth-child(1) .number")
    tab.shows(f"{BLOCKS}:nth-child(1) .title", "max-pooling")
    # It is there after a reload, and can be trained.
    text = tab.page.input_value("#net-toml")
    tab.page.reload()
    tab.settled()
    assert tab.page.input_value("#net-toml") == text
    tab.page.click("#net-train")
    tab.settled()
    assert tab.page.input_value("#train-network") == "mine"


def test_the_text_changes_the_blocks_and_a_broken_text_keeps_them(tab: Tab) -> None:
    tab.open("#network")
    text = tab.page.input_value("#net-toml")
    tab.page.fill("#net-toml", text.replace("{ flatten = true },", "{ global-max-pool = true },"))
    tab.shows(BLOCKS, "global max-pooling")
    tab.page.fill("#net-toml", text + "[[[")
    tab.page.locator("#net-error:not(:empty)").wait_for()
    assert titles(tab)[4] == "global max-pooling"
    tab.page.select_option("#net-recipe", "cifar10-resnet20")
    tab.shows("#net-says", "32×32×3")
    assert tab.page.locator("#net-blocks .block .block").count() > 20
    assert "16×16×32" in tab.text("#net-blocks")

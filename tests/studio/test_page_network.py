"""The view "Network" in a real browser: blocks and text are the same recipe."""

from typing import Any

from tests.serve.conftest import Tab
from tests.studio.conftest import Running

from firstlight.locks import held
from firstlight.studio.worker import LOCK

BLOCKS = "#net-blocks > .block"


def titles(tab: Tab) -> list[str]:
    return [str(one) for one in tab.page.locator(f"{BLOCKS} .title").all_inner_texts()]


def is_checked(tab: Tab) -> None:
    """Wait until the service has answered what the last change comes to."""
    tab.page.locator("#net-blocks[aria-busy=false]").wait_for()


def test_a_learner_writes_a_network_with_mouse_and_keyboard(tab: Tab) -> None:
    tab.open("#network")
    tab.count(BLOCKS, 7)
    assert "121,930 parameters" in tab.text("#net-says")
    # Add a dropout below the flatten layer.
    tab.page.locator(BLOCKS).nth(4).click()
    tab.page.select_option("#net-kind", "dropout")
    tab.page.click("#net-add")
    tab.count(BLOCKS, 8)
    is_checked(tab)
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
    is_checked(tab)
    # It is there after a reload, and can be trained.
    text = tab.page.input_value("#net-toml")
    tab.page.reload()
    tab.settled()
    assert tab.page.input_value("#net-toml") == text
    tab.page.click("#net-train")
    tab.settled()
    assert tab.page.input_value("#train-network") == "mine"


def test_an_answer_takes_neither_the_focus_nor_what_is_typed(tab: Tab) -> None:
    tab.open("#network")
    is_checked(tab)
    held_back, holds = list[Any](), [False]

    def asked(route: Any) -> None:
        if holds[0]:
            held_back.append(route)
        else:
            route.continue_()

    tab.page.route("**/api/studio/written", asked)

    def held(key: str) -> None:
        holds[0] = True
        with tab.page.expect_request("**/api/studio/written"):
            tab.page.keyboard.press(key)

    def answered() -> None:
        holds[0] = False
        with tab.page.expect_response("**/api/studio/written"):
            held_back.pop().continue_()
        is_checked(tab)

    has_focus = "(field) => field === document.activeElement"
    filters = tab.page.locator(f"{BLOCKS}:nth-child(1) input[data-name=filters]")
    # A layer is moved. Before the answer, a field elsewhere is chosen with its text.
    tab.page.locator(BLOCKS).nth(3).focus()
    held("Alt+ArrowUp")
    filters.select_text()
    answered()
    assert titles(tab)[1:4] == ["max-pooling", "max-pooling", "convolution"]
    assert filters.evaluate(has_focus)
    tab.page.keyboard.type("16")
    # Typing has begun when the answer to another change comes.
    tab.page.locator(f"{BLOCKS}:nth-child(1) input[data-name=kernel]").fill("5")
    is_checked(tab)
    held("Enter")
    filters.fill("1")
    answered()
    assert filters.evaluate(has_focus)
    tab.page.keyboard.type("8")
    tab.page.keyboard.press("Enter")
    tab.shows(f"{BLOCKS}:nth-child(1)", "24×24×18 · 468 parameters")  # 18 · (5 · 5 + 1)
    assert "conv = 18, kernel = 5" in tab.page.input_value("#net-toml")
    assert filters.evaluate(has_focus)
    # What was not drawn meanwhile is drawn after the next click, which counts.
    tab.page.locator(f"{BLOCKS}:nth-child(1) input[data-name=kernel]").fill("3")
    held("Enter")
    filters.fill("9")
    answered()
    tab.page.hover(f"{BLOCKS}:nth-child(2) button[data-name=Remove]")
    tab.page.mouse.down()
    tab.page.evaluate("() => new Promise((drawn) => setTimeout(drawn))")  # a person's click is slow
    tab.page.mouse.up()
    tab.count(BLOCKS, 6)
    tab.shows(f"{BLOCKS}:nth-child(1)", "26×26×9 · 90 parameters")
    # Layers that come with the text are drawn at once: the field may be another layer's now.
    text = tab.page.input_value("#net-toml")
    with tab.page.expect_request("**/api/studio/written"):
        holds[0] = True
        tab.page.fill(
            "#net-toml", text.replace("  { conv = 9", "  { max-pool = 2 },\n  { conv = 9")
        )
    filters.fill("7")
    answered()
    assert titles(tab)[:2] == ["max-pooling", "convolution"]
    tab.page.keyboard.press("Tab")
    is_checked(tab)
    assert "{ max-pool = 2 },\n  { conv = 9" in tab.page.input_value("#net-toml")


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


def test_a_wrong_value_in_a_block_is_put_right_there(tab: Tab) -> None:
    tab.open("#network")
    units = tab.page.locator(f"{BLOCKS}:nth-child(6) input[data-name=units]")
    units.fill("many")
    tab.page.keyboard.press("Tab")
    tab.shows("#net-error", "units must be a whole number")
    units.fill("48")
    tab.page.keyboard.press("Tab")
    tab.page.locator("#net-error:empty").wait_for(state="attached")
    assert "dense = 48" in tab.page.input_value("#net-toml")


def test_a_repeat_begins_with_a_layer_inside(tab: Tab) -> None:
    tab.open("#network")
    tab.page.select_option("#net-kind", "repeat")
    tab.page.click("#net-add")
    tab.count(f"{BLOCKS} .block", 1)
    assert tab.text("#net-error") == ""


def test_an_emptied_block_can_be_filled_again(tab: Tab) -> None:
    tab.open("#network")
    for kind in ("residual", "branches"):
        tab.page.locator(BLOCKS).nth(1).click()
        tab.page.select_option("#net-kind", kind)
        tab.page.click("#net-add")
        whole = tab.page.locator(f"{BLOCKS}:nth-child(3)")
        inside = whole.locator(".blocks").first
        inside.locator(".block").first.wait_for()
        while count := inside.locator(".block").count():
            inside.locator("[data-name=Remove]").first.click()
            inside.locator(f".block:nth-child({count})").wait_for(state="detached")
        tab.page.locator(BLOCKS).nth(0).click()  # another layer is the current one
        tab.page.select_option("#net-kind", "activation")
        inside.get_by_role("button", name="Add a layer").click()
        inside.locator(".block").wait_for()
        assert "activation" in inside.inner_text()
        assert inside.get_by_role("button", name="Add a layer").count() == 0


def test_what_is_trained_is_what_was_typed_last(tab: Tab, studio: Running) -> None:
    tab.open("#network")
    text = tab.page.input_value("#net-toml")
    # No time passes between the last key and each press.
    press = """([text, what]) => {
      const area = document.querySelector("#net-toml");
      area.value = text;
      area.dispatchEvent(new Event("input"));
      document.querySelector(what).click();
    }"""
    remove = f"{BLOCKS}:nth-child(2) [data-name=Remove]"
    tab.page.evaluate(press, [text.replace("epochs = 5", "epochs = 7"), remove])
    tab.count(BLOCKS, 6)
    assert "epochs = 7" in tab.page.input_value("#net-toml")
    tab.page.evaluate(press, [text.replace("epochs = 5", "epochs = 9"), "#net-train"])
    tab.page.wait_for_selector("#view-train[aria-busy=false]")
    # Another page writes another network meanwhile.
    tab.page.evaluate("localStorage.setItem('firstlight.recipe', 'another')")
    tab.page.select_option("#train-data", "digits")
    (studio.folder / "trainings").mkdir()
    with held(studio.folder / "trainings" / LOCK):  # nothing is trained meanwhile
        # A second press is not a second training.
        go = "document.querySelector('#train-go').click();"
        tab.page.evaluate(go * 2)
        tab.page.wait_for_selector("#train-go:enabled")
        tab.count("#trainings li", 1)
        (training,) = studio.queue.all()
        assert "epochs = 9" in training.wanted.recipe
        training.remove()


def test_a_network_with_a_mistake_is_kept_by_the_browser(tab: Tab) -> None:
    tab.open("#network")
    text = tab.page.input_value("#net-toml").replace("kernel = 3", "kernel = 29", 1)
    tab.page.fill("#net-toml", text)
    tab.page.locator("#net-error:not(:empty)").wait_for()
    tab.page.reload()
    tab.settled()
    assert tab.page.input_value("#net-toml") == text
    tab.shows("#net-error", "smaller kernel")

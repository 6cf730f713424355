"""Tables and plots say what the CSV files hold."""

import json

import pandas as pd

from benchmarks.accuracy import protocol, report, results


def runs(**columns):
    length = max(len(values) for values in columns.values())
    usual = {"seed": 0, "optimizer": "Adam", "learning_rate": 0.01, "val_top1": 90.0}
    table = {name: columns.get(name, [usual.get(name)] * length) for name in results.COLUMNS}
    return pd.DataFrame(table)


def test_the_table_of_rows_holds_means_deviations_and_gaps():
    table = runs(
        method=["float", "float", "float", "slb", "slb"], setting=["float"] * 5, weights=[32, 32, 32, 1, 1],
        activations=[32, 32, 32, 1, 1], test_top1=[92.0, 93.0, None, 90.0, 91.0],
        searched_test_top1=[None, None, None, 90.5, 91.5],
    )  # fmt: skip
    text = report.rows_table(table, "small_resnet")
    assert "| 1 / 1 | Adam 0.01 | 90.50 ± 0.71 | 92.50 ± 0.71 | 2.00 | 6.6 | +0.50 |" in text


def test_a_row_is_the_one_that_validation_chose_for_the_first_seed():
    table = runs(
        method=["float", "slb", "slb", "slb"], setting=["float"] * 4, weights=[32, 1, 1, 1], seed=[0, 0, 0, 1],
        activations=[32, 1, 1, 1], optimizer=["Adam", "Adam", "SGD", "SGD"], val_top1=[95.0, 89.0, 91.0, 85.0],
        test_top1=[92.0, 99.0, 90.0, 90.0],
    )  # fmt: skip
    assert "| 1 / 1 | SGD 0.01 | 90.00 ± 0.00 | 92.00 | 2.00 |" in report.rows_table(table, "small_resnet")


def test_a_table_of_rows_with_no_more_than_float_networks_says_that_it_was_not_run():
    assert report.rows_table(runs(method=["float"], setting=["float"], weights=[32]), "small_resnet") == "Not run."


def test_the_table_of_rivals_compares_at_equal_bits():
    own = runs(method=["slb", "slb"], weights=[1, 2], activations=[32, 32], test_top1=[91.0, 80.0])
    table = runs(
        method=["LSQ", "LSQ"], weights=[1, 1], activations=[32, 32], optimizer=["Adam", "SGD"],
        learning_rate=[0.01, 0.1], test_top1=[90.5, None],
    )  # fmt: skip
    text = report.rivals_table(table, own)
    assert "| 1 / 32 | LSQ | Adam 0.01 | 1 | 90.50 | +0.50 |" in text and "SGD" not in text


def test_what_a_teacher_taught_is_compared_with_its_like():
    own = runs(method=["slb", "slb, distilled"], weights=[1, 1], activations=[32, 32], test_top1=[91.0, 92.0])
    table = runs(
        method=["LSQ", "LSQ, distilled"], weights=[1, 1], activations=[32, 32], optimizer=["Adam", "Adam"],
        learning_rate=[0.01, 0.01], test_top1=[90.5, 91.9],
    )  # fmt: skip
    text = report.rivals_table(table, own)
    assert (
        "| LSQ | Adam 0.01 | 1 | 90.50 | +0.50 |" in text
        and "| LSQ, distilled | Adam 0.01 | 1 | 91.90 | +0.10 |" in text
    )


def test_rivals_are_compared_seed_by_seed_and_with_the_mean_of_their_weights():
    own = runs(method=["slb"] * 3, weights=[1] * 3, activations=[32] * 3, seed=[0, 1, 2], test_top1=[91.0, 92.0, 93.0])
    table = runs(
        method=["LSQ"] * 3, weights=[1] * 3, activations=[32] * 3, seed=[0, 1, 2], test_top1=[90.5, 91.5, 92.8],
        averaged_test_top1=[91.0, 92.0, 93.0],
    )  # fmt: skip
    text = report.rivals_table(table, own)
    # 0.5, 0.5 and 0.2: mean 0.4, deviation 0.1732, Student's t 4.303 at two degrees of freedom
    assert "| LSQ | Adam 0.01 | 3 | 91.60 ± 1.15 | +0.40 | -0.03 to +0.83 |" in text
    assert "| LSQ, averaged | Adam 0.01 | 3 | 92.00 ± 1.00 | +0.00 |" in text


def test_the_table_of_epochs_shows_what_the_fewest_lose():
    table = runs(
        setting=["as shipped", "as shipped", "logits at 0.0005", "logits at 0.0005"], weights=[1] * 4,
        epochs=[2, 4, 2, 8], test_top1=[88.0, 89.0, 90.0, 90.75],
    )  # fmt: skip
    own = runs(method=["slb", "slb"], setting=["float"] * 2, weights=[1, 1], activations=[32, 8], epochs=[8, 8],
               test_top1=[91.5, 70.0])  # fmt: skip
    text = report.epochs_table(table, own)
    assert "| 1, as shipped | 88.00 | 89.00 | 91.50 | 3.50 |" in text
    assert "| 1, logits at 0.0005 | 90.00 | | 90.75 | 0.75 |" in text


def test_the_table_of_mixed_bits_compares_at_equal_bytes():
    table = runs(
        setting=["uniform", "auto"], weights=[2, 2], mean_bits=[2.0, 1.997], bytes=[1000, 998], test_top1=[90.0, 90.4]
    )
    text = report.mixed_table(table)
    assert "| 2 | uniform | 1,000 | 90.00 | |" in text and "| 1.997 | auto | 998 | 90.40 | +0.40 |" in text


def test_the_table_of_the_ablation_shows_differences_to_its_first_row():
    table = runs(
        method=["base", "scale", "scale"], setting=["", "none", "none"], weights=[1, 1, 2],
        val_top1=[90.0, 89.5, 91.0], val_loss=[0.3, 0.25, 0.2],
    )  # fmt: skip
    text = report.ablation_table(table[:2])
    assert "| **base** | 90.00 | | 0.3000 |" in text and "| scale: none | 89.50 | -0.50 | 0.2500 |" in text


def test_docs_hold_the_tables_of_the_csv_files(tmp_path, monkeypatch):
    page = report.DOCS / "results.md"
    (tmp_path / "results.md").write_text(page.read_text())
    monkeypatch.setattr(report, "DOCS", tmp_path)
    monkeypatch.setattr(report.plots, "draw", lambda network, folder: None)
    report.write(protocol.Protocol())
    assert (tmp_path / "results.md").read_text() == page.read_text()


def test_another_network_has_a_page_of_its_own(tmp_path, monkeypatch):
    (tmp_path / "results.md").write_text((report.DOCS / "results.md").read_text())
    monkeypatch.setattr(report, "DOCS", tmp_path)
    monkeypatch.setattr(results, "RESULTS", tmp_path / "results")
    table = runs(
        method=["slb", "float"], setting=["float"] * 2, weights=[1, 32], activations=[32, 32], test_top1=[90.0, 91.5]
    )
    results.save(table.to_dict("records"), "resnet20_cifar10_rows")
    monkeypatch.setattr(report.plots, "draw", lambda key, folder: None)
    report.write(protocol.Protocol("resnet20", "cifar10"))
    text = (tmp_path / "results_resnet20_cifar10.md").read_text()
    assert "| 1 / 32 | Adam 0.01 | 90.00 | 91.50 | 1.50 | 1.5 |" in text and text.count("Not run.") >= 6


def test_plots_are_drawn_from_results_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(results, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(report.plots, "RESULTS", tmp_path / "results")
    own = runs(
        method=["float", "slb", "slb"], setting=["float"] * 3, weights=[32, 1, 2], activations=[32, 32, 32],
        test_top1=[92.0, 90.0, 91.0],
    )  # fmt: skip
    results.save(own.to_dict("records"), "net_rows")
    rival = runs(method=["LSQ"], weights=[1], activations=[32], test_top1=[89.0])
    results.save(rival.to_dict("records"), "net_rivals")
    epochs = [{"confidence_histogram": [0.05] * 20, "changed": changed} for changed in (0.1, 0.0)]
    (tmp_path / "results/net_search.json").write_text(json.dumps({"W1": epochs}))
    (tmp_path / "results/net_sensitivity.json").write_text(json.dumps({"conv": {"1": 0.5, "2": 0.1}}))
    report.plots.draw("net", tmp_path)
    assert {p.name for p in tmp_path.glob("*.png")} == {f"net_{n}.png" for n in ("accuracy", "search", "sensitivity")}

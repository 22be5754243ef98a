"""谁主管谁负责: which units an incident may belong to, judged by words of its title and by the units' names.

A suggestion for the person who registers, never a decision. The principle stands in the documents (for example ZT 六(二));
which words lead to which department is a list of our own, without legal force: departments' real competences are laid down
by each government, and a word can mislead.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

#: Parts of names of departments, and words of incidents that are usually theirs.
_AREAS: tuple[tuple[tuple[str, ...], tuple[str, ...]], ...] = (
    (("交通运输", "交通局", "交通委"),
     ("公路", "桥梁", "隧道", "轨道交通", "地铁", "公交", "出租车", "网约车", "客运", "货运", "列车", "码头", "渡口", "路段", "追尾")),
    (("应急管理", "应急局"), ("爆炸", "泄漏", "化工", "危化", "矿山", "煤矿", "烟花", "储罐", "地震", "火灾", "火情", "安全生产")),
    (("消防",), ("火灾", "火情", "失火", "被困")),
    (("卫生健康", "卫健"), ("疫情", "传染病", "医院", "诊所", "食物中毒", "急救", "疫苗", "就诊", "患者")),
    (("教育", "教体"), ("学校", "中学", "小学", "幼儿园", "校车", "校园", "学生", "中考", "高考", "培训机构")),
    (("公安",), ("持刀", "伤人", "斗殴", "诈骗", "警情", "走失", "寻衅")),
    (("住房", "住建", "城乡建设"), ("工地", "塔吊", "围挡", "物业", "危房", "楼盘", "燃气", "供热", "房屋")),
    (("水务", "水利"), ("供水", "停水", "自来水", "积水", "内涝", "排水", "污水", "水库", "河道", "洪水", "爆管")),
    (("生态环境", "环保"), ("污染", "异味", "排污", "扬尘", "噪声", "死鱼", "黑臭", "辐射")),
    (("市场监督", "市场监管"), ("食品安全", "假冒", "电梯", "农贸市场", "特种设备", "哄抬", "过期食品")),
    (("城市管理", "城管", "综合执法"), ("井盖", "占道", "摊贩", "垃圾", "路灯", "违建", "市容")),
    (("文化", "旅游", "文旅"), ("景区", "旅游", "游客", "演出", "文物")),
    (("人力资源", "人社"), ("欠薪", "工资", "社保", "招聘", "事业单位考试")),
    (("民政",), ("养老院", "养老机构", "殡葬", "墓地", "低保", "救助站")),
    (("自然资源", "国土", "规划"), ("滑坡", "泥石流", "地质灾害", "征地", "塌陷")),
    (("农业", "农村"), ("农药", "非洲猪瘟", "禽流感", "种子", "养殖")),
    (("林业", "林草"), ("森林火", "林火", "盗伐")),
)  # fmt: skip
_MOST = 2


@dataclass(frozen=True, slots=True)
class Competent:
    """A unit that may be the one in charge, and the word that says so."""

    unit_id: str
    name: str
    word: str


def competent(text: str, units: Iterable[tuple[str, str]]) -> tuple[Competent, ...]:
    """The units (id, name) whose field the text names, at most two: the longer word first, then the earlier one."""
    known = list(units)
    found = sorted((-len(word), text.index(word), word, parts) for parts, word in _words_in(text))
    chosen: dict[str, Competent] = {}
    for _length, _place, word, parts in found:
        for unit_id, name in known:
            if any(part in name for part in parts):
                chosen.setdefault(unit_id, Competent(unit_id, name, word))
    return tuple(chosen.values())[:_MOST]


def _words_in(text: str) -> Sequence[tuple[tuple[str, ...], str]]:
    return [(parts, word) for parts, words in _AREAS for word in words if word in text]

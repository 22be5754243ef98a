"""Settings of an installation: environment variables ``HUIYING_…`` first, then ``<data_dir>/huiying.toml``.

A secret never stands here in clear text: channels keep references (``env:``, ``file:``) or sealed values in the
database; the keys that seal them lie in files of their own (mode 0600) in the data directory.
"""

from __future__ import annotations

import os
import re
import socket
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import Field, ValidationError, field_validator
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from huiying.domain.errors import InvalidInput

PREFIX = "HUIYING_"
FILE_NAME = "huiying.toml"

_Port = Annotated[int, Field(ge=1, le=65535)]


def default_data_dir() -> Path:
    """Where data lies when nobody says so: the user's data folder."""
    base = os.environ.get("XDG_DATA_HOME") or "~/.local/share"
    return Path(base).expanduser() / "huiying"


def _default_node() -> str:
    return re.sub(r"[^A-Za-z0-9.-]", "-", socket.gethostname())[:40] or "node"


def secure_address(address: str) -> bool:
    """Whether what goes there cannot be read or changed on the way: https, or this very machine."""
    parts = urlsplit(address)
    return parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in {"127.0.0.1", "::1", "localhost"})


class Settings(BaseSettings):
    """Everything an operator may set; each has a default with which the product runs on one machine."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, extra="forbid", frozen=True, validate_default=True)

    data_dir: Path = Field(default_factory=default_data_dir)
    database_url: str = Field(default="", repr=False, description="SQLAlchemy 地址；留空为数据目录中的 SQLite 文件")
    host: str = "127.0.0.1"
    port: _Port = 8765
    public_url: str = Field(
        default="", description="手机和外部系统访问本系统的地址，签收链接以此开头；留空则消息不带链接"
    )
    trusted_proxies: str = Field(
        default="127.0.0.1", description="在本系统前面的代理的地址，逗号分隔；其转述的来访地址可信"
    )
    prefect_enabled: bool = True
    prefect_port: _Port = 4210
    prefect_database_url: str = Field(default="", repr=False)
    prefect_history_days: Annotated[int, Field(ge=0, le=3650)] = Field(
        default=180, description="Prefect 保留运行历史的天数，到期分批删除；0 为不删。本系统的库表始终全部保留"
    )
    node: str = Field(default_factory=_default_node, pattern=r"^[A-Za-z0-9.-]{1,40}$")
    allow_loopback_channels: bool = Field(default=False, description="允许渠道指向本机地址，仅供试验")
    digest_after_minutes: Annotated[int, Field(ge=1, le=1440)] = 10
    lease_seconds: Annotated[int, Field(ge=5, le=600)] = 30
    sender_threads: Annotated[int, Field(ge=1, le=64)] = 16
    desk_phone: str = Field(default="", max_length=40, description="值班室电话，显示在签收页上")
    password_max_days: Annotated[int, Field(ge=0, le=3650)] = Field(
        default=0, description="登录密码最长使用天数，到期须更换；0 为不限"
    )
    second_factor_for_all: bool = Field(default=False, description="所有人登录都须动态口令，不限于审批、审计、管理员")
    demo: bool = Field(
        default=False, description="演示：数据均为虚构，每页标明，免动态口令，消息只进站内收件箱；不得用于正式工作"
    )
    oidc_issuer: str = Field(default="", description="统一身份平台（OpenID Connect）的 issuer 地址；留空为不启用")
    oidc_client_id: str = Field(default="", max_length=200)
    oidc_client_secret: str = Field(default="", repr=False, description="客户端密钥的引用：env:变量名 或 file:文件路径")
    oidc_claim: str = Field(default="sub", pattern=r"^[A-Za-z0-9_.:/-]{1,80}$", description="标识人员的声明名")
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    rules_dir: Path | None = Field(default=None, description="本单位自备规则包、督办方案的目录，随系统自带的一并读取")

    @field_validator("data_dir", "rules_dir")
    @classmethod
    def _absolute(cls, value: Path | None) -> Path | None:
        return None if value is None else value.expanduser().absolute()

    @field_validator("public_url")
    @classmethod
    def _plain_address(cls, value: str) -> str:
        parts = urlsplit(value)
        if value and (parts.scheme not in {"http", "https"} or not parts.hostname or parts.query or parts.fragment):
            raise ValueError("应为 http:// 或 https:// 开头的地址，不带参数")
        return value.rstrip("/")

    @field_validator("oidc_issuer")
    @classmethod
    def _secure_issuer(cls, value: str) -> str:
        if value and not secure_address(value):
            raise ValueError("应为 https:// 开头的地址（仅本机试验可用 http）")
        return value

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - the interface; we read no .env
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - likewise
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Arguments, then the environment, then the file in the data directory that those two name."""
        named = {**env_settings(), **init_settings()}.get("data_dir")
        path = Path(named).expanduser() if named else default_data_dir()
        return init_settings, env_settings, TomlConfigSettingsSource(settings_cls, path / FILE_NAME)

    @property
    def store_url(self) -> str:
        """The address of our tables, never Prefect's."""
        return self.database_url or f"sqlite:///{self.data_dir / 'huiying.db'}"

    @property
    def local_url(self) -> str:
        """Where the web process answers on this machine."""
        host = "127.0.0.1" if self.host in {"0.0.0.0", "::"} else self.host  # noqa: S104 - compared, not bound
        return f"http://{f'[{host}]' if ':' in host else host}:{self.port}"


def load_settings(**overrides: Any) -> Settings:
    """Read the settings; a wrong one is refused with its name and a Chinese sentence."""
    given = {name: value for name, value in overrides.items() if value is not None}
    try:
        return Settings(**given)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        name = ".".join(map(str, first["loc"])) or "settings"
        raise InvalidInput(name, f"设置项 {PREFIX}{name.upper()} 不正确：{_reason(first)}。") from None
    except ValueError as error:  # a TOML file that is none
        raise InvalidInput(FILE_NAME, f"数据目录中的 {FILE_NAME} 无法读取：{error}") from None


def _reason(error: Any) -> str:
    sentences = {
        "extra_forbidden": "没有这个设置项",
        "greater_than_equal": "数值太小",
        "less_than_equal": "数值太大",
        "int_parsing": "应为整数",
        "int_type": "应为整数",
        "bool_parsing": "应为 true 或 false",
        "literal_error": "不在允许的取值中",
        "string_pattern_mismatch": "含有不允许的字符",
        "string_too_long": "太长",
    }
    kind = str(error["type"])
    if kind == "value_error":
        return str(error["ctx"]["error"])
    return sentences.get(kind, str(error["msg"]))
